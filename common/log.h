/* SPDX-License-Identifier: MIT */
/*
 * log - structured lines on stderr.
 *
 *     2026-01-02T03:04:05.678Z info  server ready listen=127.0.0.1:8080 pid=4711
 *
 * One event, one line: a constant message, then key=value fields. With the format
 * LOG_JSON the same line is a JSON object whose fields are members:
 *
 *     {"time":…,"level":…,"msg":…,"listen":"127.0.0.1:8080","pid":4711}
 *
 * Which bytes are a key and which are its value is taken from the constant format alone,
 * so no value can pretend to be a field: in a text line a value with blanks, quotes or
 * equal signs is in quotes, with \" and \\ inside. Control bytes and bytes that are not
 * UTF-8 are written as \xHH, a line is cut at LOG_LINE_MAX.
 *
 * stderr may be a full pipe: a line that cannot be written at once is dropped and counted,
 * never waited for. How many were dropped is told by a line of its own as soon as there is
 * room for it. A disk that is full is the same, but that it may take the beginning of a
 * line: that stays, as a line of its own.
 *
 * Thread-safe: a line is one write(2).
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 2048 /* bytes with the newline */

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVEL_COUNT };
enum log_format { LOG_TEXT, LOG_JSON, LOG_FORMAT_COUNT };

/* "debug", ...; "text", "json". */
extern const char *const log_level_names[LOG_LEVEL_COUNT];
extern const char *const log_format_names[LOG_FORMAT_COUNT];

/* Lines below `level` are not written. `process` is a short name put on every line as
 * process=…, or NULL for the server itself; it is copied. Called before other threads
 * log. */
void log_init(enum log_level level, enum log_format format, const char *process);
uint64_t log_lines(enum log_level level); /* that were to be written */
uint64_t log_dropped(void);               /* lines that could not be written */
/* Says how many lines were dropped, if that has not been said and can be now. For a timer:
 * the next line would say it, but there may be none for long. */
void log_catch_up(void);

/* An event without fields is fine, so an empty format is no mistake here. */
#pragma GCC diagnostic ignored "-Wformat-zero-length"

/* fields is a printf format of "key=value key=value", or "" for none: keys are letters and
 * underscores, what stands between blanks is one field unless it is in quotes. errno is
 * kept. */
void log_line(enum log_level level, const char *message, const char *fields, ...)
    PRINTF(3, 4);

/* The same with fields that are texts already. */
struct log_field {
    const char *name;
    const char *value; /* len bytes of any kind */
    size_t len;
    bool number; /* the value is one of JSON */
};
void log_fields(enum log_level level, const char *message,
                const struct log_field fields[], size_t count);
/* Whether lines of this level are written. */
bool log_wants(enum log_level level);

#define log_debug(message, ...) log_line(LOG_DEBUG, message, __VA_ARGS__)
#define log_info(message, ...)  log_line(LOG_INFO, message, __VA_ARGS__)
#define log_warn(message, ...)  log_line(LOG_WARN, message, __VA_ARGS__)
#define log_error(message, ...) log_line(LOG_ERROR, message, __VA_ARGS__)

#endif
