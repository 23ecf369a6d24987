/* SPDX-License-Identifier: MIT */
/*
 * metrics - the one list of metric families, and their text for Prometheus. Pure.
 *
 * Two formats of the same: the text format 0.0.4, and OpenMetrics 1.0, where the family of
 * a counter is named without `_total`, units are told, and the end is marked. What is
 * counted where is in server/api_metrics.c, what it means in docs/metrics.md, which a test
 * compares with this list.
 *
 *     metrics_begin(&text, &buf, METRICS_TEXT);
 *     metrics_family(&text, METRIC_JOBS_SUBMITTED);
 *     metrics_add(&text, 12, "task", "square", "method", "map", NULL);
 *     ...
 *     metrics_end(&text);
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "common/buf.h"
#include "server/histogram.h"

enum metric {
    METRIC_BUILD_INFO,
    METRIC_READY,
    METRIC_LIMIT,
    METRIC_JOBS_SUBMITTED,
    METRIC_JOBS_FINISHED,
    METRIC_JOBS,
    METRIC_JOBS_BYTES,
    METRIC_JOB_WAIT,
    METRIC_JOB_RUN,
    METRIC_ATTEMPTS,
    METRIC_STATE_MISMATCH,
    METRIC_QUEUE_JOBS,
    METRIC_QUEUE_MEMORY,
    METRIC_QUEUE_OLDEST,
    METRIC_POOL_PROCESSES,
    METRIC_WORKERS,
    METRIC_WORKER_EXITS,
    METRIC_WORKERS_MEMORY,
    METRIC_WORKERS_CPU,
    METRIC_WORKERS_PROCESSES,
    METRIC_COMMIT,
    METRIC_COMMIT_COMMANDS,
    METRIC_STORE_BACKLOG,
    METRIC_STORE_WRITABLE,
    METRIC_DATABASE_BYTES,
    METRIC_WAL_BYTES,
    METRIC_DISK_FREE,
    METRIC_DISK_SIZE,
    METRIC_DISK_LEVEL,
    METRIC_CONNECTIONS,
    METRIC_WAITERS,
    METRIC_HTTP_REQUESTS,
    METRIC_HTTP_PROBLEMS,
    METRIC_HTTP_DURATION,
    METRIC_TLS_EXPIRY,
    METRIC_DELIVERIES,
    METRIC_LOG_LINES,
    METRIC_LOG_DROPPED,
    METRIC_PROCESS_CPU,
    METRIC_PROCESS_FDS,
    METRIC_PROCESS_MAX_FDS,
    METRIC_PROCESS_VIRTUAL,
    METRIC_PROCESS_RESIDENT,
    METRIC_PROCESS_START,
    METRIC_PROCESS_THREADS,
    METRIC_COUNT
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_INFO };
extern const char *const metric_type_names[METRIC_INFO + 1];

struct metric_family {
    const char *name; /* of its samples in the text format: counters end in _total, infos
                         in _info; ends in the unit before that, if it has one */
    enum metric_type type;
    const char *labels; /* names, separated by blanks; "" for none */
    const char *help;
};
extern const struct metric_family metric_families[METRIC_COUNT];

enum metrics_format { METRICS_TEXT, METRICS_OPEN };
/* By the header Accept (RFC 9110), which may be NULL: OpenMetrics for who asks for it at
 * least as much as for text. */
enum metrics_format metrics_format_of(const char *accept);
extern const char *const metrics_content_types[METRICS_OPEN + 1];

struct metrics_text {
    struct buf *out; /* as every buf: failed without memory */
    enum metrics_format format;
    enum metric family; /* the one that samples belong to */
    struct buf labels;
};
void metrics_begin(struct metrics_text *text, struct buf *out,
                   enum metrics_format format);
/* What follows are samples of this one; each family comes once. */
void metrics_family(struct metrics_text *text, enum metric family);
/* Name and value of each label, then NULL. Values are any UTF-8. */
void metrics_add(struct metrics_text *text, double value, ...);
void metrics_add_histogram(struct metrics_text *text, const struct histogram *histogram,
                           ...);
void metrics_end(struct metrics_text *text);

#endif
