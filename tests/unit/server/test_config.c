/* SPDX-License-Identifier: MIT */
#include "server/config.h"

#include "common/mem.h"
#include "server/setting.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct load {
    struct config config;
    enum config_action action;
    enum status st;
    struct error_text err;
};

static char *no_variables[] = { NULL };

/* arguments: up to the first NULL; variables may be NULL. */
static struct load load(char **arguments, char **variables)
{
    struct load load = { .err = { "" } };
    int count = 0;

    while (arguments[count])
        count++;
    load.st = config_load(count, arguments, variables ? variables : no_variables,
                          &load.config, &load.action, &load.err);
    return load;
}

#define LOAD(...)      load((char *[]){ __VA_ARGS__, NULL }, NULL)
#define LOAD_ENV(...)  load(no_variables, (char *[]){ __VA_ARGS__, NULL })
#define LOAD_NOTHING() load(no_variables, NULL)

static void assert_refused(struct load got, const char *text)
{
    assert_int_equal(got.st, ST_INVALID);
    assert_string_equal(got.err.text, text);
    assert_null(got.config.listen);
    assert_null(got.config.data);
}

static void assert_refused_with(struct load got, const char *part)
{
    assert_int_equal(got.st, ST_INVALID);
    if (!strstr(got.err.text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, got.err.text);
}

/* A configuration file with this content; its path is valid until the next call. */
static char *write_file(const char *content)
{
    static char path[64];
    int fd;

    snprintf(path, sizeof(path), "/tmp/poold-test-config-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
    return path;
}

static struct load load_file(const char *content)
{
    char *path = write_file(content);
    struct load got = LOAD("--config", path);

    unlink(path);
    return got;
}

/* "<path of the last file><rest>" */
static const char *with_path(char *path, const char *rest)
{
    static char text[ERROR_TEXT_MAX];

    snprintf(text, sizeof(text), "%s%s", path, rest);
    return text;
}

/* ---- defaults ---- */

static void config_without_settings_is_the_documented_defaults(void **state)
{
    struct load got = LOAD_NOTHING();
    cpu_set_t cpus;

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.action, CONFIG_RUN);
    assert_string_equal(got.config.listen, "127.0.0.1:8080");
    assert_string_equal(got.config.listen_host, "127.0.0.1");
    assert_int_equal(got.config.listen_port, 8080);
    assert_string_equal(got.config.data, "./data");
    assert_int_equal(got.config.store, STORE_SQLITE);
    assert_int_equal(got.config.log_level, LOG_INFO);
    assert_int_equal(got.config.log_format, LOG_TEXT);
    assert_int_equal(got.config.max_body_bytes, 67108864);
    assert_int_equal(got.config.max_items, 10000000);
    assert_int_equal(got.config.max_item_bytes, 16777216);
    assert_int_equal(got.config.max_json_depth, 64);
    assert_int_equal(got.config.max_uri_bytes, 2048);
    assert_int_equal(got.config.max_headers, 64);
    assert_int_equal(got.config.max_header_bytes, 8192);
    assert_int_equal(got.config.max_batch_jobs, 1000);
    assert_int_equal(got.config.max_attempt_log_bytes, 65536);
    assert_int_equal(got.config.crash_retries, 2);
    assert_int_equal(got.config.max_tasks_per_child, 0);
    assert_int_equal(got.config.max_result_bytes, 16777216);
    assert_int_equal(got.config.max_job_result_bytes, 268435456);
    assert_int_equal(got.config.max_queued_bytes, 4294967296);
    assert_int_equal(got.config.max_queued_jobs, 100000);
    assert_int_equal(got.config.max_connections, 1024);
    assert_int_equal(got.config.max_waiters, 512);
    assert_int_equal(got.config.max_key_requests, 512);
    assert_int_equal(got.config.answer_timeout_ms, 60000);
    assert_int_equal(got.config.max_processes, 1024);
    assert_int_equal(got.config.max_wait_ms, 60000);
    assert_int_equal(got.config.idle_timeout_ms, 30000);
    assert_int_equal(got.config.drain_timeout_ms, 8000);
    assert_int_equal(got.config.time_limit_ms, 0);
    assert_int_equal(got.config.result_ttl_ms, 86400000);
    assert_int_equal(got.config.job_ttl_ms, 604800000);
    assert_int_equal(got.config.max_finished_jobs, 1000000);
    assert_int_equal(got.config.max_finished_bytes, 0);
    assert_false(got.config.insecure);
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    assert_int_equal(got.config.processes, CPU_COUNT(&cpus));
    config_clear(&got.config);
}

static void config_clear_accepts_a_cleared_config_and_null(void **state)
{
    struct load got = LOAD_NOTHING();

    (void)state;
    config_clear(&got.config);
    config_clear(&got.config);
    config_clear(NULL);
    assert_null(got.config.listen);
}

/* ---- flags ---- */

static void config_takes_a_flag_with_a_blank_or_an_equals_sign(void **state)
{
    struct load got = LOAD("--max-items", "7", "--max-waiters=8", "--log-level=debug",
                           "--log-format", "json", "--store", "memory", "--data", "d");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.config.max_items, 7);
    assert_int_equal(got.config.max_waiters, 8);
    assert_int_equal(got.config.log_level, LOG_DEBUG);
    assert_int_equal(got.config.log_format, LOG_JSON);
    assert_int_equal(got.config.store, STORE_MEMORY);
    assert_string_equal(got.config.data, "d");
    config_clear(&got.config);
}

static void config_takes_the_last_of_two_equal_flags(void **state)
{
    struct load got = LOAD("--data", "a", "--data", "b");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_string_equal(got.config.data, "b");
    config_clear(&got.config);
}

static void config_adds_up_the_flags_of_a_list(void **state)
{
    struct load got =
        LOAD("--callback-allow", "a.example", "--callback-allow=b.example:8443");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_string_equal(got.config.callback_allow, "a.example,b.example:8443");
    config_clear(&got.config);
    got = LOAD_ENV("POOLD_CALLBACK_ALLOW=a.example,b.example");
    assert_int_equal(got.st, ST_OK);
    assert_string_equal(got.config.callback_allow, "a.example,b.example");
    config_clear(&got.config);
    got = LOAD("--config",
               write_file("{\"callback_allow\": [\"a.example\", \"http://b.example\"]}"));
    assert_int_equal(got.st, ST_OK);
    assert_string_equal(got.config.callback_allow, "a.example,http://b.example");
    config_clear(&got.config);
    got = LOAD("--config", write_file("{\"callback_allow\": []}"));
    assert_int_equal(got.st, ST_OK);
    assert_null(got.config.callback_allow);
    config_clear(&got.config);
}

static void config_refuses_what_is_no_list_of_hosts(void **state)
{
    (void)state;
    assert_refused_with(LOAD("--callback-allow", "a.example", "--callback-allow", "b:0"),
                        "is not [http://]HOST[:PORT]");
    assert_refused_with(LOAD("--config", write_file("{\"callback_allow\": \"a\"}")),
                        "is not an array of strings");
    assert_refused_with(LOAD("--config", write_file("{\"callback_allow\": [1]}")),
                        "is not an array of strings");
    assert_refused_with(LOAD("--store", "memory", "--callback-allow", "a.example"),
                        "callback_secret_file");
}

static void config_suggests_the_setting_that_was_meant(void **state)
{
    (void)state;
    assert_refused(LOAD("--proceses", "2"),
                   "unknown setting \"--proceses\" (did you mean --processes?)");
    assert_refused(LOAD("--max_items=2"),
                   "unknown setting \"--max_items\" (did you mean --max-items?)");
    assert_refused(LOAD("--colour"), "unknown setting \"--colour\"");
    assert_refused(LOAD_ENV("POOLD_MAX_ITEM=2"),
                   "unknown setting \"POOLD_MAX_ITEM\" (did you mean POOLD_MAX_ITEMS?)");
}

static void config_refuses_abbreviated_flags(void **state)
{
    (void)state;
    assert_refused_with(LOAD("--proc", "2"), "unknown setting \"--proc\"");
}

static void config_refuses_arguments_that_are_no_flags(void **state)
{
    (void)state;
    assert_refused(LOAD("8080"), "unexpected argument \"8080\": settings start with --");
}

static void config_refuses_a_flag_without_its_value(void **state)
{
    (void)state;
    assert_refused(LOAD("--data"), "--data needs a value: DIR");
    assert_refused(LOAD("--data", "--insecure"), "--data needs a value: DIR");
}

static void config_survives_a_very_long_flag(void **state)
{
    char flag[4096];

    (void)state;
    memset(flag, 'x', sizeof(flag) - 1);
    flag[0] = flag[1] = '-';
    flag[sizeof(flag) - 1] = '\0';
    assert_refused_with(LOAD(flag), "unknown setting \"--xxx");
}

static void config_help_wins_over_every_mistake(void **state)
{
    struct load got = LOAD("--nonsense", "--help");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.action, CONFIG_HELP);
    assert_null(got.config.listen);
    assert_int_equal(LOAD("-h").action, CONFIG_HELP);
}

/* ---- values ---- */

static void config_names_setting_origin_value_and_reason(void **state)
{
    (void)state;
    assert_refused(LOAD_ENV("POOLD_MAX_BODY_BYTES=12x"),
                   "setting max_body_bytes (from POOLD_MAX_BODY_BYTES): \"12x\" is not a "
                   "whole number");
    assert_refused(LOAD("--log-level=loud"),
                   "setting log_level (from --log-level): \"loud\" is not one of "
                   "debug|info|warn|error");
    assert_refused(
        LOAD("--insecure=yes"),
        "setting insecure (from --insecure): \"yes\" is not one of true|false");
    assert_refused(LOAD("--data="), "setting data (from --data): \"\" is empty");
}

static void config_refuses_what_is_no_whole_number(void **state)
{
    static const char *const bad[] = { "",    " 1",   "1 ",  "+1", "-1",
                                       "1.0", "0x10", "1e3", "1k" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char flag[64];

        snprintf(flag, sizeof(flag), "--processes=%s", bad[i]);
        assert_refused_with(LOAD(flag), "is not a whole number");
    }
}

static void config_accepts_the_ends_of_each_range_and_nothing_beyond(void **state)
{
    (void)state;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        bool seconds = setting->type == SETTING_SECONDS;
        uint64_t unit = seconds ? MS_PER_S : 1;
        char name[SETTING_TEXT_MAX], flag[128];
        struct load got;

        if (setting->type != SETTING_NUMBER && !seconds)
            continue;
        setting_spell(i, SPELLING_FLAG, name);
        for (int end = 0; end < 2; end++) {
            uint64_t n = (end ? setting->max : setting->min) / unit, stored;

            snprintf(flag, sizeof(flag), "%s=%llu", name, (unsigned long long)n);
            got = LOAD(flag);
            assert_int_equal(got.st, ST_OK);
            memcpy(&stored, (char *)&got.config + setting->offset, sizeof(stored));
            assert_int_equal(stored, n * unit);
            config_clear(&got.config);
        }
        snprintf(flag, sizeof(flag), "%s=%llu", name,
                 (unsigned long long)(setting->max / unit + 1));
        assert_refused_with(LOAD(flag), "is not in ");
        snprintf(flag, sizeof(flag), "%s=%llu", name,
                 (unsigned long long)(setting->min / unit - 1));
        if (setting->min > 0)
            assert_refused_with(LOAD(flag), "is not in ");
    }
}

static void config_refuses_numbers_over_64_bits(void **state)
{
    (void)state;
    assert_refused_with(LOAD("--max-items=18446744073709551617"),
                        "is not in 1..1000000000");
    assert_refused_with(LOAD("--max-wait=18446744073709551615"), "number of seconds");
}

static void config_keeps_seconds_to_the_millisecond(void **state)
{
    struct load got = LOAD("--time-limit", "0.25", "--max-wait=1.5",
                           "--drain-timeout=0.001", "--idle-timeout=2.0000");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.config.time_limit_ms, 250);
    assert_int_equal(got.config.max_wait_ms, 1500);
    assert_int_equal(got.config.drain_timeout_ms, 1);
    assert_int_equal(got.config.idle_timeout_ms, 2000);
    config_clear(&got.config);
}

static void config_bounds_what_is_kept(void **state)
{
    static const char *const good[] = {
        "--result-ttl=0",         "--result-ttl=31536000",
        "--job-ttl=86400",        "--job-ttl=315360000",
        "--max-finished-jobs=1",  "--max-finished-jobs=1000000000",
        "--max-finished-bytes=0", "--max-finished-bytes=1125899906842624"
    };
    static const char *const bad[] = { "--result-ttl=31536001",
                                       "--job-ttl=86399",
                                       "--job-ttl=315360001",
                                       "--max-finished-jobs=0",
                                       "--max-finished-jobs=1000000001",
                                       "--max-finished-bytes=1125899906842625" };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct load got = LOAD((char *)good[i]);

        if (got.st != ST_OK)
            fail_msg("%s: %s", good[i], got.err.text);
        config_clear(&got.config);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused_with(LOAD((char *)bad[i]), "is not ");
}

static void config_refuses_what_is_no_number_of_seconds(void **state)
{
    static const char *const bad[] = { "",   "1.",  ".5",     "1s",
                                       "-1", "1e3", "0.0001", "1.2.3" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char flag[64];

        snprintf(flag, sizeof(flag), "--time-limit=%s", bad[i]);
        assert_refused_with(LOAD(flag), "is not a number of seconds");
    }
}

/* ---- the address ---- */

static void config_splits_the_address(void **state)
{
    struct load got = LOAD("--listen=[::1]:81");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_string_equal(got.config.listen, "[::1]:81");
    assert_string_equal(got.config.listen_host, "::1");
    assert_int_equal(got.config.listen_port, 81);
    config_clear(&got.config);
}

static void config_refuses_malformed_addresses(void **state)
{
    (void)state;
    assert_refused_with(LOAD("--listen=8080"),
                        "(from --listen): \"8080\" is not HOST:PORT");
}

static void config_refuses_an_address_that_others_reach(void **state)
{
    (void)state;
    assert_refused(LOAD("--listen=0.0.0.0:8080"),
                   "setting listen (from --listen): \"0.0.0.0:8080\" is not a loopback "
                   "address, and without API keys everyone who reaches the port can run "
                   "tasks: make one with `poold key new --data DIR --name NAME --scopes "
                   "submit,read`, or use --insecure only behind something that "
                   "authenticates");
    assert_refused_with(LOAD("--listen=[::]:80"), "loopback");
    assert_refused_with(LOAD("--listen=192.0.2.1:80", "--insecure=false"), "loopback");
    assert_refused_with(LOAD("--listen=[::ffff:127.0.0.1]:80"), "loopback");
}

static void config_allows_an_address_that_others_reach_with_insecure(void **state)
{
    struct load got = LOAD("--insecure", "--listen", "0.0.0.0:8080");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_true(got.config.insecure);
    assert_string_equal(got.config.listen_host, "0.0.0.0");
    config_clear(&got.config);
}

/* ---- environment ---- */

static void config_reads_the_environment(void **state)
{
    struct load got = LOAD_ENV("HOME=/root", "POOLD_MAX_ITEMS=9", "POOLD_INSECURE=true",
                               "POOLD_DATA=a=b", "XPOOLD_X=1", "MALFORMED");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.config.max_items, 9);
    assert_true(got.config.insecure);
    assert_string_equal(got.config.data, "a=b");
    config_clear(&got.config);
}

static void config_refuses_unknown_variables(void **state)
{
    (void)state;
    assert_refused(LOAD_ENV("POOLD_PORT=9000"), "unknown setting \"POOLD_PORT\"");
    assert_refused_with(LOAD_ENV("POOLD_max_items=1"), "unknown setting");
}

static void config_ignores_the_variables_of_a_kubernetes_service(void **state)
{
    struct load got =
        LOAD_ENV("POOLD_SERVICE_HOST=10.0.0.1", "POOLD_SERVICE_PORT=8080",
                 "POOLD_SERVICE_PORT_HTTP=8080", "POOLD_PORT=tcp://10.0.0.1:8080",
                 "POOLD_PORT_8080_TCP_PROTO=tcp");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    config_clear(&got.config);
}

/* ---- the file ---- */

static void config_reads_the_file(void **state)
{
    struct load got = load_file("{\"listen\": \"127.0.0.1:1\", \"processes\": 3,\n"
                                " \"max_wait\": 0.1, \"time_limit\": 2,\n"
                                " \"log_level\": \"warn\", \"insecure\": true}");

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.config.listen_port, 1);
    assert_int_equal(got.config.processes, 3);
    assert_int_equal(got.config.max_wait_ms, 100);
    assert_int_equal(got.config.time_limit_ms, 2000);
    assert_int_equal(got.config.log_level, LOG_WARN);
    assert_true(got.config.insecure);
    config_clear(&got.config);
}

static void config_flag_beats_environment_beats_file(void **state)
{
    char *path =
        write_file("{\"max_items\": 1, \"max_waiters\": 1, \"max_connections\": 1}");
    char variable[128];
    struct load got;

    (void)state;
    snprintf(variable, sizeof(variable), "POOLD_CONFIG=%s", path);
    got = load((char *[]){ "--max-items=3", NULL },
               (char *[]){ "POOLD_MAX_ITEMS=2", "POOLD_MAX_WAITERS=2", variable, NULL });
    unlink(path);
    assert_int_equal(got.st, ST_OK);
    assert_int_equal(got.config.max_items, 3);
    assert_int_equal(got.config.max_waiters, 2);
    assert_int_equal(got.config.max_connections, 1);
    config_clear(&got.config);
}

static void config_checks_the_file_even_where_a_flag_overrides_it(void **state)
{
    char *path = write_file("{\"max_items\": \"many\"}");
    struct load got = LOAD("--config", path, "--max-items=1");

    (void)state;
    unlink(path);
    assert_refused_with(got, "\"many\"");
}

static void config_refuses_wrong_types_with_their_line(void **state)
{
    static const struct {
        const char *content, *rest;
    } cases[] = {
        { "{\n \"max_items\": \"5\"}", " line 2): \"\"5\"\" is not a whole number" },
        { "{\"max_items\": 5.0}", " line 1): \"5.0\" is not a whole number" },
        { "{\"max_items\": -5}", " line 1): \"-5\" is not a whole number" },
        { "{\"data\": \"max_items\",\n\n \"max_items\" :\n null}",
          " line 3): \"null\" is not a whole number" },
        { "{\"max_wait\": true}", " line 1): \"true\" is not a number of seconds" },
        { "{\"insecure\": 1}", " line 1): \"1\" is not true or false" },
        { "{\"listen\": [80]}", " line 1): \"[80]\" is not a string" },
        { "{\"max_\\u0069tems\": {}}", "): \"{}\" is not a whole number" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *path = write_file(cases[i].content);
        struct load got = LOAD("--config", path);

        unlink(path);
        assert_refused_with(got, with_path(path, cases[i].rest));
    }
}

static void config_refuses_a_malformed_file_with_line_and_column(void **state)
{
    char *path = write_file("{\n  \"max_items\": 01\n}");
    struct load got = LOAD("--config", path);

    (void)state;
    unlink(path);
    assert_refused_with(got, with_path(path, " line 2 column "));
    assert_refused_with(load_file("[]"), "must be a JSON object");
    assert_refused_with(load_file(""), "line 1 column 0");
    assert_refused_with(load_file("{\"max_items\":1,\"max_items\":2}"), "duplicate");
}

static void config_refuses_unknown_members(void **state)
{
    char *path = write_file("{\"max_itms\": 1}");
    struct load got = LOAD("--config", path);
    char text[256];

    (void)state;
    unlink(path);
    snprintf(text, sizeof(text),
             "unknown setting \"max_itms\" in %s (did you mean max_items?)", path);
    assert_refused(got, text);
    assert_refused_with(load_file("{\"config\": \"other.json\"}"), "not for the file");
}

static void config_refuses_a_file_that_it_cannot_read(void **state)
{
    (void)state;
    assert_refused(LOAD("--config", "/nonexistent/poold.json"),
                   "cannot open the configuration file /nonexistent/poold.json: No such "
                   "file or directory");
    assert_refused_with(LOAD("--config", "/"), "cannot read the configuration file /: ");
}

static void config_refuses_an_endless_file(void **state)
{
    (void)state;
    assert_refused_with(LOAD("--config", "/dev/zero"), "is larger than");
}

/* ---- memory ---- */

static void config_load_survives_each_failing_allocation(void **state)
{
    char *path = write_file("{\"max_wait\": 1.5, \"data\": \"elsewhere\"}");
    unsigned long n = 1;
    struct load got;

    (void)state;
    for (;; n++) {
        mem_fail_at(n, 0);
        got = LOAD("--config", path, "--listen=[::1]:80");
        if (got.st == ST_OK)
            break;
        assert_int_equal(got.st, ST_NO_MEMORY);
        assert_null(got.config.listen);
    }
    mem_fail_at(0, 0);
    unlink(path);
    assert_true(n > 5);
    assert_string_equal(got.config.data, "elsewhere");
    config_clear(&got.config);
}

static void config_refuses_a_disk_low_above_disk_high(void **state)
{
    struct load got = LOAD_NOTHING();

    (void)state;
    assert_int_equal(got.st, ST_OK);
    assert_true(got.config.disk_high == UINT64_MAX && got.config.disk_low == UINT64_MAX);
    config_clear(&got.config);
    assert_refused_with(LOAD("--disk-high=5", "--disk-low=6"),
                        "setting disk_low: 6 is more than disk_high, 5");
    got = LOAD("--disk-high=6", "--disk-low=6");
    assert_int_equal(got.st, ST_OK);
    config_clear(&got.config);
}

/* ---- help ---- */

static void config_help_tells_every_setting_within_80_columns(void **state)
{
    struct buf help = BUF_INIT;
    char flag[SETTING_TEXT_MAX + 4];

    (void)state;
    config_help(&help);
    assert_false(help.failed);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        memcpy(flag, "\n  ", 3);
        setting_spell(i, SPELLING_FLAG, flag + 3);
        assert_non_null(strstr(help.data, flag));
    }
    for (const char *line = help.data; *line; line += strcspn(line, "\n") + 1)
        assert_in_range(strcspn(line, "\n"), 0, 80);
    assert_non_null(strstr(help.data, "Default: 67108864 (1 to 536870912)."));
    assert_non_null(strstr(help.data, "POOLD_MAX_ITEMS"));
    buf_clear(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_without_settings_is_the_documented_defaults),
        cmocka_unit_test(config_clear_accepts_a_cleared_config_and_null),
        cmocka_unit_test(config_takes_a_flag_with_a_blank_or_an_equals_sign),
        cmocka_unit_test(config_takes_the_last_of_two_equal_flags),
        cmocka_unit_test(config_adds_up_the_flags_of_a_list),
        cmocka_unit_test(config_refuses_what_is_no_list_of_hosts),
        cmocka_unit_test(config_suggests_the_setting_that_was_meant),
        cmocka_unit_test(config_refuses_abbreviated_flags),
        cmocka_unit_test(config_refuses_arguments_that_are_no_flags),
        cmocka_unit_test(config_refuses_a_flag_without_its_value),
        cmocka_unit_test(config_survives_a_very_long_flag),
        cmocka_unit_test(config_help_wins_over_every_mistake),
        cmocka_unit_test(config_names_setting_origin_value_and_reason),
        cmocka_unit_test(config_refuses_what_is_no_whole_number),
        cmocka_unit_test(config_accepts_the_ends_of_each_range_and_nothing_beyond),
        cmocka_unit_test(config_refuses_numbers_over_64_bits),
        cmocka_unit_test(config_keeps_seconds_to_the_millisecond),
        cmocka_unit_test(config_bounds_what_is_kept),
        cmocka_unit_test(config_refuses_what_is_no_number_of_seconds),
        cmocka_unit_test(config_splits_the_address),
        cmocka_unit_test(config_refuses_malformed_addresses),
        cmocka_unit_test(config_refuses_an_address_that_others_reach),
        cmocka_unit_test(config_allows_an_address_that_others_reach_with_insecure),
        cmocka_unit_test(config_reads_the_environment),
        cmocka_unit_test(config_refuses_unknown_variables),
        cmocka_unit_test(config_ignores_the_variables_of_a_kubernetes_service),
        cmocka_unit_test(config_reads_the_file),
        cmocka_unit_test(config_flag_beats_environment_beats_file),
        cmocka_unit_test(config_checks_the_file_even_where_a_flag_overrides_it),
        cmocka_unit_test(config_refuses_wrong_types_with_their_line),
        cmocka_unit_test(config_refuses_a_malformed_file_with_line_and_column),
        cmocka_unit_test(config_refuses_unknown_members),
        cmocka_unit_test(config_refuses_a_file_that_it_cannot_read),
        cmocka_unit_test(config_refuses_an_endless_file),
        cmocka_unit_test(config_load_survives_each_failing_allocation),
        cmocka_unit_test(config_refuses_a_disk_low_above_disk_high),
        cmocka_unit_test(config_help_tells_every_setting_within_80_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
