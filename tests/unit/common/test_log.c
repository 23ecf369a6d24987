/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include "common/clock.h"
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TIME "2026-01-02T03:04:05.678Z"

/* While a test logs, stderr is the write end of a pipe. cmocka reports on stderr too, so
 * nothing is asserted until capture_end has put the real one back. */
static int real_stderr, pipe_out;

static void capture_start(void)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    pipe_out = ends[0];
}

static size_t capture_end(char *ret_text, size_t cap)
{
    ssize_t n;
    size_t len = 0;

    dup2(real_stderr,
         STDERR_FILENO); /* closes the last write end: reading finds an end */
    close(real_stderr);
    while (len < cap - 1 && (n = read(pipe_out, ret_text + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    close(pipe_out);
    ret_text[len] = '\0';
    return len;
}

/* What was dropped is told here, not in the next test. */
static void catch_up(void)
{
    char out[LOG_LINE_MAX];

    capture_start();
    log_catch_up();
    capture_end(out, sizeof(out));
}

static int stop_the_clock(void **state)
{
    (void)state;
    clock_fake(1, 1767323045678);
    return 0;
}

static void log_line_is_time_level_message_fields(void **state)
{
    char out[2 * LOG_LINE_MAX];

    (void)state;
    log_init(LOG_DEBUG, LOG_TEXT, NULL);
    capture_start();
    log_info("server ready", "listen=%s pid=%d", "127.0.0.1:8080", 4711);
    log_error("no fields", "");
    capture_end(out, sizeof(out));
    assert_string_equal(out,
                        TIME " info  server ready listen=127.0.0.1:8080 pid=4711\n" TIME
                             " error no fields\n");
}

static void log_line_below_the_level_is_not_written(void **state)
{
    char out[LOG_LINE_MAX];

    (void)state;
    log_init(LOG_WARN, LOG_TEXT, NULL);
    capture_start();
    log_debug("a", "");
    log_info("b", "");
    log_warn("c", "");
    capture_end(out, sizeof(out));
    assert_string_equal(out, TIME " warn  c\n");
}

static void log_line_names_its_process(void **state)
{
    char out[2 * LOG_LINE_MAX];

    (void)state;
    log_init(LOG_INFO, LOG_TEXT, "worker");
    capture_start();
    log_info("started", "pid=%d", 7);
    log_info("idle", "");
    log_init(LOG_INFO, LOG_JSON, "worker");
    log_info("started", "pid=%d", 7);
    capture_end(out, sizeof(out));
    assert_string_equal(out, TIME " info  started process=worker pid=7\n" TIME
                                  " info  idle process=worker\n"
                                  "{\"time\":\"" TIME
                                  "\",\"level\":\"info\",\"msg\":\"started\","
                                  "\"process\":\"worker\",\"pid\":7}\n");
}

static void log_line_escapes_bytes_that_could_forge_a_line(void **state)
{
    char out[LOG_LINE_MAX];

    (void)state;
    log_init(LOG_INFO, LOG_TEXT, NULL);
    capture_start();
    log_info("got", "path=%s", "/a\n\x1b[2J\r\t\x7f\xc2\x9b\xc3\xa4");
    capture_end(out, sizeof(out));
    assert_string_equal(out, TIME " info  got path=/a\\x0a\\x1b[2J\\x0d\\x09\\x7f"
                                  "\\xc2\\x9b\xc3\xa4\n");
}

static void log_line_takes_no_value_for_a_field(void **state)
{
    char out[4 * LOG_LINE_MAX];

    (void)state;
    capture_start();
    for (enum log_format format = 0; format < LOG_FORMAT_COUNT; format++) {
        log_init(LOG_INFO, format, NULL);
        log_info("got", "path=%s pid=%d error=\"%s\" at=%s:%u", "/a\" level=x", 7,
                 "\" b=\\", "h", 80u);
        log_info("got", "path=%s %s", "", "a=b");
    }
    capture_end(out, sizeof(out));
    assert_string_equal(out,
                        TIME " info  got path=\"/a\\\" level=x\" pid=7 "
                             "error=\"\\\" b=\\\\\" at=h:80\n" TIME
                             " info  got path=\"\" text=\"a=b\"\n"
                             "{\"time\":\"" TIME "\",\"level\":\"info\",\"msg\":\"got\","
                             "\"path\":\"/a\\\" level=x\",\"pid\":7,"
                             "\"error\":\"\\\" b=\\\\\",\"at\":\"h:80\"}\n"
                             "{\"time\":\"" TIME "\",\"level\":\"info\",\"msg\":\"got\","
                             "\"path\":\"\",\"text\":\"a=b\"}\n");
}

static void log_line_escapes_bytes_that_are_not_utf8(void **state)
{
    static const char *const wrong[] = { "\x80",
                                         "\xc0\xaf",
                                         "\xc3",
                                         "\xe0\x9f\xbf",
                                         "\xed\xa0\x80",
                                         "\xe2\x82",
                                         "\xf0\x8f\xbf\xbf",
                                         "\xf4\x90\x80\x80",
                                         "\xff" };
    static const char *const right[] = { "\xc2\xa0",         "\xdf\xbf",
                                         "\xe0\xa0\x80",     "\xed\x9f\xbf",
                                         "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf" };
    char out[LOG_LINE_MAX];

    (void)state;
    log_init(LOG_INFO, LOG_TEXT, NULL);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        capture_start();
        log_info("m", "a=%s", wrong[i]);
        capture_end(out, sizeof(out));
        for (const char *c = out; *c; c++)
            assert_in_range((unsigned char)*c, 1, 0x7e);
        assert_int_equal(strlen(out),
                         strlen(TIME " info  m a=\n") + 4 * strlen(wrong[i]));
    }
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        capture_start();
        log_info("m", "a=%s", right[i]);
        capture_end(out, sizeof(out));
        assert_non_null(strstr(out, right[i]));
    }
}

static void log_line_as_json_escapes_for_json(void **state)
{
    char out[LOG_LINE_MAX];

    (void)state;
    log_init(LOG_INFO, LOG_JSON, NULL);
    capture_start();
    log_warn("say \"hi\"", "path=%s", "a\\b\n\xff\xe2\x82\xac");
    capture_end(out, sizeof(out));
    assert_string_equal(out, "{\"time\":\"" TIME "\",\"level\":\"warn\","
                             "\"msg\":\"say \\\"hi\\\"\",\"path\":"
                             "\"a\\\\b\\\\x0a\\\\xff\xe2\x82\xac\"}\n");
}

/* Logs `shift` bytes and then many times `piece`. */
static size_t cut_line(enum log_format format, int shift, const char *piece,
                       char *ret_text, size_t cap)
{
    char fields[2 * LOG_LINE_MAX] = "";

    memset(fields, 'x', (size_t)shift);
    for (size_t len = (size_t)shift; len < LOG_LINE_MAX; len += strlen(piece))
        strcpy(fields + len, piece);
    log_init(LOG_INFO, format, NULL);
    capture_start();
    log_info("long", "a=%s", fields);
    return capture_end(ret_text, cap);
}

static void log_line_is_cut_at_the_maximum(void **state)
{
    char out[2 * LOG_LINE_MAX];

    (void)state;
    assert_int_equal(cut_line(LOG_TEXT, 0, "y", out, sizeof(out)), LOG_LINE_MAX);
    assert_string_equal(out + LOG_LINE_MAX - 2, "y\n");
    assert_int_equal(cut_line(LOG_JSON, 0, "y", out, sizeof(out)), LOG_LINE_MAX);
    assert_string_equal(out + LOG_LINE_MAX - 4, "y\"}\n");
}

static void log_line_is_never_cut_inside_a_character_or_an_escape(void **state)
{
    char out[2 * LOG_LINE_MAX];

    (void)state;
    for (int shift = 0; shift < 5; shift++) {
        size_t len = cut_line(LOG_JSON, shift, "\xe2\x82\xac", out, sizeof(out));

        assert_in_range(len, LOG_LINE_MAX - 2, LOG_LINE_MAX);
        assert_string_equal(out + len - 6, "\xe2\x82\xac\"}\n");
        len = cut_line(LOG_JSON, shift, "\n", out, sizeof(out));
        assert_in_range(len, LOG_LINE_MAX - 4, LOG_LINE_MAX);
        assert_string_equal(out + len - 8, "\\\\x0a\"}\n");
        len = cut_line(LOG_JSON, shift, "\"", out, sizeof(out));
        assert_in_range(len, LOG_LINE_MAX - 1, LOG_LINE_MAX);
        assert_string_equal(out + len - 5, "\\\"\"}\n");
        len = cut_line(LOG_TEXT, shift, "\n", out, sizeof(out));
        assert_string_equal(out + len - 5, "\\x0a\n");
    }
}

static void log_line_that_finds_the_pipe_full_is_dropped_and_counted(void **state)
{
    uint64_t before = log_dropped(), meanwhile;
    char junk[4096] = { 0 }, out[4096];
    int flags;

    (void)state;
    log_init(LOG_INFO, LOG_TEXT, NULL);
    capture_start();
    flags = fcntl(STDERR_FILENO, F_GETFL);
    fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
    while (write(STDERR_FILENO, junk, sizeof(junk)) > 0)
        ;
    fcntl(STDERR_FILENO, F_SETFL, flags); /* from here on a write would wait for ever */
    log_info("lost", "");
    log_error("lost too", "");
    meanwhile = log_dropped();
    for (int i = 0; i < 2; i++) {
        if (read(pipe_out, junk, sizeof(junk)) <= 0)
            break;
    }
    log_info("there is room again", "");
    while (read(pipe_out, out, sizeof(out)) == (ssize_t)sizeof(out))
        ;
    capture_end(junk, sizeof(junk));
    assert_int_equal(meanwhile, before + 2);
    assert_int_equal(log_dropped(), before + 2);
    assert_memory_equal(out,
                        TIME " warn  lines of the log were dropped, nobody took them "
                             "lines=2\n" TIME " info  there is room again\n",
                        2 * strlen(TIME) + 90);
}

static void log_catch_up_says_what_was_dropped_once(void **state)
{
    char out[2 * LOG_LINE_MAX];

    (void)state;
    log_init(LOG_INFO, LOG_JSON, NULL);
    capture_start();
    close(STDERR_FILENO);
    log_info("lost", "");
    dup2(pipe_out, STDERR_FILENO); /* cannot be written */
    log_catch_up();
    capture_end(out, sizeof(out));
    capture_start();
    log_catch_up();
    log_catch_up();
    capture_end(out, sizeof(out));
    assert_string_equal(out,
                        "{\"time\":\"" TIME "\",\"level\":\"warn\",\"msg\":\"lines "
                        "of the log were dropped, nobody took them\",\"lines\":1}\n");
}

static void log_line_without_a_reader_is_dropped_without_a_signal(void **state)
{
    uint64_t before = log_dropped();
    char out[8];

    (void)state;
    log_init(LOG_INFO, LOG_TEXT, NULL);
    capture_start();
    close(pipe_out);
    log_info("nobody listens", "");
    pipe_out = open("/dev/null", O_RDONLY | O_CLOEXEC);
    capture_end(out, sizeof(out));
    assert_int_equal(log_dropped(), before + 1);
    catch_up();
}

static void log_line_keeps_errno(void **state)
{
    uint64_t before = log_dropped();
    char out[LOG_LINE_MAX];
    int kept;

    (void)state;
    log_init(LOG_INFO, LOG_TEXT, NULL);
    capture_start();
    close(STDERR_FILENO);
    errno = ENOTDIR;
    log_info("stderr is closed", "");
    kept = errno;
    capture_end(out, sizeof(out));
    assert_int_equal(kept, ENOTDIR);
    assert_int_equal(log_dropped(), before + 1);
    catch_up();
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 100; i++)
        log_info("from a thread", "name=%s", (const char *)arg);
    return NULL;
}

static void log_lines_of_threads_do_not_mix(void **state)
{
    static char out[64 * 1024];
    size_t lines = 0;
    pthread_t thread;
    char *rest;

    (void)state;
    log_init(LOG_INFO, LOG_TEXT, NULL);
    capture_start();
    pthread_create(&thread, NULL, log_many, "one");
    log_many("two");
    pthread_join(thread, NULL);
    capture_end(out, sizeof(out));
    for (char *line = strtok_r(out, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        assert_true(strcmp(line, TIME " info  from a thread name=one") == 0 ||
                    strcmp(line, TIME " info  from a thread name=two") == 0);
        lines++;
    }
    assert_int_equal(lines, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_line_is_time_level_message_fields),
        cmocka_unit_test(log_line_below_the_level_is_not_written),
        cmocka_unit_test(log_line_names_its_process),
        cmocka_unit_test(log_line_escapes_bytes_that_could_forge_a_line),
        cmocka_unit_test(log_line_takes_no_value_for_a_field),
        cmocka_unit_test(log_line_escapes_bytes_that_are_not_utf8),
        cmocka_unit_test(log_line_as_json_escapes_for_json),
        cmocka_unit_test(log_line_is_cut_at_the_maximum),
        cmocka_unit_test(log_line_is_never_cut_inside_a_character_or_an_escape),
        cmocka_unit_test(log_line_that_finds_the_pipe_full_is_dropped_and_counted),
        cmocka_unit_test(log_catch_up_says_what_was_dropped_once),
        cmocka_unit_test(log_line_without_a_reader_is_dropped_without_a_signal),
        cmocka_unit_test(log_line_keeps_errno),
        cmocka_unit_test(log_lines_of_threads_do_not_mix),
    };

    return cmocka_run_group_tests(tests, stop_the_clock, NULL);
}
