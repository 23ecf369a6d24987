/* SPDX-License-Identifier: MIT */
/*
 * A line is formatted on the stack and written with one write(2): no allocation, so
 * running out of memory can be reported, and no stdio lock that a child could inherit
 * locked.
 *
 * Fields may carry bytes from clients. Everything that could end the line early, steer a
 * terminal or break a JSON reader is replaced by \xHH: control bytes (C0, DEL, C1) and
 * bytes that are not UTF-8. Cutting a long line never cuts through a character or an
 * escape, and a JSON line is closed properly.
 *
 * stderr is shared with other processes, so its O_NONBLOCK is not ours to set. poll(2)
 * says whether a write would wait: a pipe that polls writable has room for PIPE_BUF
 * bytes, which is more than a line. The lock keeps a second thread from using up that
 * room in between.
 */
#include "common/log.h"

#include "common/clock.h"
#include "common/utf8.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line has to be written in one piece");

#define PROCESS_MAX 32 /* bytes of the process name with the NUL */

const char *const log_level_names[LOG_LEVEL_COUNT] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARN] = "warn",
    [LOG_ERROR] = "error",
};

const char *const log_format_names[LOG_FORMAT_COUNT] = {
    [LOG_TEXT] = "text",
    [LOG_JSON] = "json",
};

static enum log_level min_level = LOG_INFO;
static enum log_format line_format = LOG_TEXT;
static char process_name[PROCESS_MAX];
static atomic_ullong dropped;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

void log_init(enum log_level level, enum log_format format, const char *process)
{
    min_level = level;
    line_format = format;
    snprintf(process_name, sizeof(process_name), "%s", process ? process : "");
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

/* A line in the making. `limit` leaves room for what closes the line. */
struct line {
    char bytes[LOG_LINE_MAX];
    size_t len, limit;
    bool full; /* something did not fit: nothing more is added */
};

static void put(struct line *line, const char *bytes, size_t len)
{
    if (line->full || len > line->limit - line->len) {
        line->full = true;
        return;
    }
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
}

static void put_str(struct line *line, const char *string)
{
    put(line, string, strlen(string));
}

static bool is_control(const unsigned char *s)
{
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

static void put_escaped(struct line *line, const char *string)
{
    static const char hex[] = "0123456789abcdef";
    const char *backslash = line_format == LOG_JSON ? "\\\\" : "\\";

    for (const unsigned char *s = (const unsigned char *)string; *s && !line->full;) {
        size_t len = utf8_len((const char *)s, SIZE_MAX); /* ends at the NUL */
        char escape[8];

        if (len == 0 || is_control(s)) {
            snprintf(escape, sizeof(escape), "%sx%c%c", backslash, hex[*s >> 4],
                     hex[*s & 15]);
            put_str(line, escape);
            s++;
            continue;
        }
        if (*s == '\\')
            put_str(line, backslash);
        else if (*s == '"' && line_format == LOG_JSON)
            put_str(line, "\\\"");
        else
            put(line, (const char *)s, len);
        s += len;
    }
}

static void put_fields(struct line *line, const char *fields)
{
    if (process_name[0]) {
        put_str(line, "process=");
        put_escaped(line, process_name);
        if (fields[0])
            put_str(line, " ");
    }
    put_escaped(line, fields);
}

static void put_text_line(struct line *line, enum log_level level, const char *time,
                          const char *message, const char *fields)
{
    static const char padding[] = "     ";
    const char *name = log_level_names[level];

    put_str(line, time);
    put_str(line, " ");
    put_str(line, name);
    put_str(line, padding + strlen(name) - 1); /* names have up to five letters */
    put_escaped(line, message);
    if (process_name[0] || fields[0])
        put_str(line, " ");
    put_fields(line, fields);
}

static void put_json_line(struct line *line, enum log_level level, const char *time,
                          const char *message, const char *fields)
{
    put_str(line, "{\"time\":\"");
    put_str(line, time);
    put_str(line, "\",\"level\":\"");
    put_str(line, log_level_names[level]);
    put_str(line, "\",\"msg\":\"");
    put_escaped(line, message);
    put_str(line, "\",\"fields\":\"");
    put_fields(line, fields);
}

/* No reader any more counts as full: writing would raise SIGPIPE. */
static bool stderr_has_room(void)
{
    struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };

    return poll(&pfd, 1, 0) == 1 && pfd.revents == POLLOUT;
}

static void write_line(const struct line *line)
{
    ssize_t n = -1;

    pthread_mutex_lock(&write_lock);
    if (stderr_has_room())
        n = write(STDERR_FILENO, line->bytes, line->len);
    pthread_mutex_unlock(&write_lock);
    if (n != (ssize_t)line->len)
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

void log_line(enum log_level level, const char *message, const char *fields, ...)
{
    const char *end = line_format == LOG_JSON ? "\"}\n" : "\n";
    char text[LOG_LINE_MAX], time[CLOCK_TEXT_LEN + 1];
    int saved_errno = errno;
    struct line line;
    va_list args;

    if (level < min_level)
        return;
    va_start(args, fields);
    if (vsnprintf(text, sizeof(text), fields, args) < 0)
        text[0] = '\0';
    va_end(args);

    line.len = 0;
    line.full = false;
    line.limit = sizeof(line.bytes) - strlen(end);
    clock_format(clock_wall_ms(), time);
    if (line_format == LOG_JSON)
        put_json_line(&line, level, time, message, text);
    else
        put_text_line(&line, level, time, message, text);
    memcpy(line.bytes + line.len, end, strlen(end));
    line.len += strlen(end);
    write_line(&line);
    errno = saved_errno;
}
