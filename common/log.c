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
 * log_line has to know where a value ends, whatever is in it. So it splits the format, and
 * has each of its beginnings formatted to learn the lengths: a line has few fields.
 *
 * stderr is shared with other processes, so its O_NONBLOCK is not ours to set. poll(2)
 * says whether a write would wait: a pipe that polls writable has room for PIPE_BUF
 * bytes, which is more than a line. The lock keeps a second thread from using up that
 * room in between.
 */
#include "common/log.h"

#include "common/clock.h"
#include "common/hex.h"
#include "common/utf8.h"

#include <assert.h>
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

_Static_assert(1 + LOG_LINE_MAX <= PIPE_BUF, "a line has to be written in one piece");

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

#define FORMAT_MAX 512 /* bytes of a format of fields */
#define FIELDS_MAX 16

static enum log_level min_level = LOG_INFO;
static enum log_format line_format = LOG_TEXT;
static char process_name[PROCESS_MAX];
static atomic_ullong dropped;
static atomic_ullong lines[LOG_LEVEL_COUNT];
static unsigned long long told; /* of these; under the lock */
static bool torn;               /* stderr ends with a part of a line; under the lock */
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

void log_init(enum log_level level, enum log_format format, const char *process)
{
    min_level = level;
    line_format = format;
    snprintf(process_name, sizeof(process_name), "%s", process ? process : "");
}

uint64_t log_lines(enum log_level level)
{
    return atomic_load_explicit(&lines[level], memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

bool log_wants(enum log_level level)
{
    return level >= min_level;
}

/* ---- a line ------------------------------------------------------------------------ */

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

/* The first of len bytes. */
static bool is_control(const unsigned char *s, size_t len)
{
    return s[0] < 0x20 || s[0] == 0x7f || (len > 1 && s[0] == 0xc2 && s[1] < 0xa0);
}

/* quoted: between quotes, or in JSON. */
static void put_escaped(struct line *line, const char *bytes, size_t len, bool quoted)
{
    const char *backslash = line_format == LOG_JSON ? "\\\\" : "\\";
    const unsigned char *s = (const unsigned char *)bytes, *end = s + len;

    while (s < end && !line->full) {
        size_t n = utf8_len((const char *)s, (size_t)(end - s));
        char escape[8];

        if (n == 0 || is_control(s, n)) {
            snprintf(escape, sizeof(escape), "%sx%c%c", backslash, hex_digit(*s >> 4),
                     hex_digit(*s));
            put_str(line, escape);
            s++;
            continue;
        }
        if (quoted && (*s == '\\' || *s == '"'))
            put(line, (const char[]){ '\\', (char)*s }, 2);
        else
            put(line, (const char *)s, n);
        s += n;
    }
}

static bool needs_quotes(const struct log_field *field)
{
    if (field->len == 0)
        return true;
    for (size_t i = 0; i < field->len; i++)
        if (strchr(" \"=\\", field->value[i]))
            return true;
    return false;
}

static void put_text_field(struct line *line, const struct log_field *field)
{
    bool quotes = needs_quotes(field);

    put_str(line, " ");
    put_str(line, field->name);
    put_str(line, quotes ? "=\"" : "=");
    put_escaped(line, field->value, field->len, quotes);
    if (quotes)
        put_str(line, "\"");
}

/* The room for the closing quote is taken from the limit meanwhile: a value that is cut is
 * closed all the same. */
static void put_json_field(struct line *line, const struct log_field *field)
{
    size_t at = line->len;

    put_str(line, ",\"");
    put_str(line, field->name);
    put_str(line, "\":");
    if (field->number) {
        put(line, field->value, field->len);
        if (line->full)
            line->len = at;
        return;
    }
    put_str(line, "\"");
    if (line->full || line->limit == line->len) {
        line->full = true;
        line->len = at;
        return;
    }
    line->limit--;
    put_escaped(line, field->value, field->len, true);
    line->limit++;
    memcpy(line->bytes + line->len, "\"", 1);
    line->len++;
}

static void put_head(struct line *line, enum log_level level, const char *message)
{
    static const char padding[] = "     ";
    const char *name = log_level_names[level];
    char time[CLOCK_TEXT_LEN + 1];

    clock_format(clock_wall_ms(), time);
    if (line_format == LOG_JSON) {
        put_str(line, "{\"time\":\"");
        put_str(line, time);
        put_str(line, "\",\"level\":\"");
        put_str(line, name);
        put_str(line, "\",\"msg\":\"");
        put_escaped(line, message, strlen(message), true);
        put_str(line, "\"");
        return;
    }
    put_str(line, time);
    put_str(line, " ");
    put_str(line, name);
    put_str(line, padding + strlen(name) - 1); /* names have up to five letters */
    put_escaped(line, message, strlen(message), false);
}

static void make_line(struct line *line, enum log_level level, const char *message,
                      const struct log_field fields[], size_t count)
{
    const struct log_field process = { "process", process_name, strlen(process_name),
                                       false };
    void (*put_field)(struct line *, const struct log_field *) =
        line_format == LOG_JSON ? put_json_field : put_text_field;
    const char *end = line_format == LOG_JSON ? "}\n" : "\n";

    line->len = 0;
    line->full = false;
    line->limit = sizeof(line->bytes) - strlen(end);
    put_head(line, level, message);
    if (process.len)
        put_field(line, &process);
    for (size_t i = 0; i < count; i++)
        put_field(line, &fields[i]);
    memcpy(line->bytes + line->len, end, strlen(end));
    line->len += strlen(end);
}

/* ---- writing ----------------------------------------------------------------------- */

/* No reader any more counts as full: writing would raise SIGPIPE. */
static bool stderr_has_room(void)
{
    struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };

    return poll(&pfd, 1, 0) == 1 && pfd.revents == POLLOUT;
}

/* Under the lock. A file whose disk becomes full takes a part of a line: what is written
 * next ends that. */
static bool write_now(const struct line *line)
{
    char bytes[1 + LOG_LINE_MAX];
    size_t len = 0;
    ssize_t n;

    if (!stderr_has_room())
        return false;
    if (torn)
        bytes[len++] = '\n';
    memcpy(bytes + len, line->bytes, line->len);
    len += line->len;
    n = write(STDERR_FILENO, bytes, len);
    if (n > 0)
        torn = (size_t)n < len && bytes[n - 1] != '\n';
    return n == (ssize_t)len;
}

/* Under the lock. Whether it has been said of all lines so far that they were dropped. */
static bool tell_dropped(void)
{
    unsigned long long now = atomic_load_explicit(&dropped, memory_order_relaxed);
    char count[24];
    struct log_field field = { "lines", count, 0, true };
    struct line line;

    if (now == told)
        return true;
    field.len = (size_t)snprintf(count, sizeof(count), "%llu", now - told);
    make_line(&line, LOG_WARN, "lines of the log were dropped, nobody took them", &field,
              1);
    if (!write_now(&line))
        return false;
    told = now;
    return true;
}

void log_catch_up(void)
{
    pthread_mutex_lock(&write_lock);
    (void)tell_dropped();
    pthread_mutex_unlock(&write_lock);
}

void log_fields(enum log_level level, const char *message,
                const struct log_field fields[], size_t count)
{
    int saved_errno = errno;
    struct line line;

    if (level < min_level)
        return;
    atomic_fetch_add_explicit(&lines[level], 1, memory_order_relaxed);
    make_line(&line, level, message, fields, count);
    pthread_mutex_lock(&write_lock);
    if (!tell_dropped() || !write_now(&line))
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
    pthread_mutex_unlock(&write_lock);
    errno = saved_errno;
}

/* ---- fields by a format ------------------------------------------------------------ */

/* The end of the field that starts at `format`: a blank that is not between quotes. */
static size_t field_len(const char *format)
{
    bool quoted = false;
    size_t len = 0;

    for (; format[len] && (quoted || format[len] != ' '); len++)
        quoted ^= format[len] == '"';
    return len;
}

/* "%d", "%llu", "%g", and nothing else. */
static bool is_number(const char *format, size_t len)
{
    if (len < 2 || format[0] != '%' || !strchr("diug", format[len - 1]))
        return false;
    return strspn(format + 1, "lhz") == len - 2;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
/* The bytes that the first `len` bytes of the format give. */
static size_t formatted(char *out, size_t cap, const char *format, size_t len,
                        va_list args)
{
    char beginning[FORMAT_MAX];
    va_list copy;
    int n;

    memcpy(beginning, format, len);
    beginning[len] = '\0';
    va_copy(copy, args);
    n = vsnprintf(out, cap, beginning, copy);
    va_end(copy);
    return n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}
#pragma GCC diagnostic pop

/* What format and values make as fields; names point into `names`, values into `text`. */
static size_t split(const char *format, va_list args, char text[LOG_LINE_MAX],
                    char names[FORMAT_MAX], struct log_field ret_fields[FIELDS_MAX])
{
    size_t count = 0, at = 0;

    memcpy(names, format, strlen(format) + 1);
    while (format[at] && count < FIELDS_MAX) {
        size_t len = field_len(format + at);
        size_t name_len = strcspn(format + at, "=");
        bool named = name_len < len;
        bool quoted = named && format[at + name_len + 1] == '"' && len > name_len + 2;
        size_t value_at = named ? at + name_len + 1 + quoted : at;
        size_t value_len = at + len - quoted - value_at;
        size_t from = formatted(text, LOG_LINE_MAX, format, value_at, args);
        size_t to = formatted(text, LOG_LINE_MAX, format, value_at + value_len, args);

        if (named)
            names[at + name_len] = '\0';
        ret_fields[count++] = (struct log_field){
            .name = named ? names + at : "text",
            .value = text + from,
            .len = to - from,
            .number = is_number(format + value_at, value_len),
        };
        at += len;
        at += format[at] == ' ';
    }
    (void)formatted(text, LOG_LINE_MAX, format, at, args);
    return count;
}

void log_line(enum log_level level, const char *message, const char *fields, ...)
{
    char text[LOG_LINE_MAX], names[FORMAT_MAX];
    struct log_field list[FIELDS_MAX];
    int saved_errno = errno;
    size_t count;
    va_list args;

    if (level < min_level)
        return;
    assert(strlen(fields) < FORMAT_MAX);
    va_start(args, fields);
    count = split(fields, args, text, names, list);
    va_end(args);
    log_fields(level, message, list, count);
    errno = saved_errno;
}
