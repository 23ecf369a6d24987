/* SPDX-License-Identifier: MIT */
#include "server/metrics.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *const metric_type_names[] = { "counter", "gauge", "histogram", "info" };

const char *const metrics_content_types[] = {
    "text/plain; version=0.0.4; charset=utf-8",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/* clang-format off */
const struct metric_family metric_families[METRIC_COUNT] = {
    [METRIC_BUILD_INFO] = { "poold_build_info", METRIC_INFO, "version",
        "The version that runs; always 1" },
    [METRIC_READY] = { "poold_ready", METRIC_GAUGE, "",
        "1 if /readyz says that the service can commit and dispatch" },
    [METRIC_LIMIT] = { "poold_limit", METRIC_GAUGE, "setting",
        "The value of each setting that is a number or a time, in bytes, seconds or pieces" },
    [METRIC_JOBS_SUBMITTED] = { "poold_jobs_submitted_total", METRIC_COUNTER, "task method",
        "Jobs that were accepted" },
    [METRIC_JOBS_FINISHED] = { "poold_jobs_finished_total", METRIC_COUNTER, "state",
        "Jobs that have ended, by how" },
    [METRIC_JOBS] = { "poold_jobs", METRIC_GAUGE, "pool state",
        "Jobs that are not over" },
    [METRIC_JOBS_BYTES] = { "poold_jobs_input_bytes", METRIC_GAUGE, "",
        "Inputs of jobs that are not over" },
    [METRIC_JOB_WAIT] = { "poold_job_wait_seconds", METRIC_HISTOGRAM, "",
        "From the submission of a job, or its start time, until it has a worker" },
    [METRIC_JOB_RUN] = { "poold_job_run_seconds", METRIC_HISTOGRAM, "",
        "From when a job has a worker until it is over" },
    [METRIC_ATTEMPTS] = { "poold_attempts_total", METRIC_COUNTER, "outcome",
        "Attempts at items, by what came of them" },
    [METRIC_STATE_MISMATCH] = { "poold_state_mismatch", METRIC_GAUGE, "",
        "Items that jobs count as running, minus items that workers have; always 0" },
    [METRIC_QUEUE_JOBS] = { "poold_queue_jobs", METRIC_GAUGE, "pool",
        "Jobs that have items to hand to a worker" },
    [METRIC_QUEUE_MEMORY] = { "poold_queue_memory_bytes", METRIC_GAUGE, "pool",
        "Inputs of queued jobs that are held in memory" },
    [METRIC_QUEUE_OLDEST] = { "poold_queue_oldest_seconds", METRIC_GAUGE, "pool",
        "How long the job that has waited longest for its first worker has waited" },
    [METRIC_POOL_PROCESSES] = { "poold_pool_processes", METRIC_GAUGE, "pool",
        "Workers that the pool is to have" },
    [METRIC_WORKERS] = { "poold_workers", METRIC_GAUGE, "pool state",
        "Workers that there are" },
    [METRIC_WORKER_EXITS] = { "poold_worker_exits_total", METRIC_COUNTER, "cause",
        "Workers that have ended, by why" },
    [METRIC_WORKERS_MEMORY] = { "poold_workers_resident_bytes", METRIC_GAUGE, "pool",
        "Resident memory of the forkserver, the workers and all that they have started" },
    [METRIC_WORKERS_CPU] = { "poold_workers_cpu_seconds_total", METRIC_COUNTER, "pool",
        "Processor time of the same" },
    [METRIC_WORKERS_PROCESSES] = { "poold_workers_processes", METRIC_GAUGE, "pool",
        "Processes that these are" },
    [METRIC_COMMIT] = { "poold_commit_seconds", METRIC_HISTOGRAM, "",
        "Commits of the store, with their sync if there is one" },
    [METRIC_COMMIT_COMMANDS] = { "poold_commit_commands", METRIC_HISTOGRAM, "",
        "Changes that a commit held" },
    [METRIC_STORE_BACKLOG] = { "poold_store_backlog", METRIC_GAUGE, "",
        "Changes that are not committed yet" },
    [METRIC_STORE_WRITABLE] = { "poold_store_writable", METRIC_GAUGE, "",
        "1 if the last commit went well" },
    [METRIC_DATABASE_BYTES] = { "poold_database_bytes", METRIC_GAUGE, "",
        "Size of the database" },
    [METRIC_WAL_BYTES] = { "poold_wal_bytes", METRIC_GAUGE, "",
        "Size of the write-ahead log beside it" },
    [METRIC_DISK_FREE] = { "poold_disk_free_bytes", METRIC_GAUGE, "",
        "What the file system of the data directory has left for this user" },
    [METRIC_DISK_SIZE] = { "poold_disk_size_bytes", METRIC_GAUGE, "",
        "The size of that file system" },
    [METRIC_DISK_LEVEL] = { "poold_disk_level", METRIC_GAUGE, "",
        "0: enough room; 1: new jobs are refused; 2: no work is handed out, either" },
    [METRIC_CONNECTIONS] = { "poold_connections", METRIC_GAUGE, "listener",
        "Connections that are open" },
    [METRIC_WAITERS] = { "poold_waiters", METRIC_GAUGE, "",
        "Requests that wait for a job" },
    [METRIC_HTTP_REQUESTS] = { "poold_http_requests_total", METRIC_COUNTER,
        "route method code", "Requests that are over" },
    [METRIC_HTTP_PROBLEMS] = { "poold_http_problems_total", METRIC_COUNTER,
        "problem", "Requests that were refused, by why" },
    [METRIC_HTTP_DURATION] = { "poold_http_request_duration_seconds", METRIC_HISTOGRAM,
        "route method", "From the first line of a request until its answer is sent" },
    [METRIC_TLS_EXPIRY] = { "poold_tls_certificate_expiry_timestamp_seconds", METRIC_GAUGE,
        "", "When the certificate that new connections get is over, since 1970" },
    [METRIC_DELIVERIES] = { "poold_deliveries_total", METRIC_COUNTER, "outcome",
        "Attempts at callbacks, by what came of them" },
    [METRIC_LOG_LINES] = { "poold_log_lines_total", METRIC_COUNTER, "level",
        "Lines of the server's log, the dropped ones among them" },
    [METRIC_LOG_DROPPED] = { "poold_log_lines_dropped_total", METRIC_COUNTER, "",
        "Lines that were dropped because nobody took them" },
    [METRIC_PROCESS_CPU] = { "process_cpu_seconds_total", METRIC_COUNTER, "",
        "Processor time of the server" },
    [METRIC_PROCESS_FDS] = { "process_open_fds", METRIC_GAUGE, "",
        "Descriptors that the server has open" },
    [METRIC_PROCESS_MAX_FDS] = { "process_max_fds", METRIC_GAUGE, "",
        "Descriptors that it may have open" },
    [METRIC_PROCESS_VIRTUAL] = { "process_virtual_memory_bytes", METRIC_GAUGE, "",
        "Address space of the server" },
    [METRIC_PROCESS_RESIDENT] = { "process_resident_memory_bytes", METRIC_GAUGE, "",
        "Resident memory of the server" },
    [METRIC_PROCESS_START] = { "process_start_time_seconds", METRIC_GAUGE, "",
        "When the server was started, since 1970" },
    [METRIC_PROCESS_THREADS] = { "process_threads", METRIC_GAUGE, "",
        "Threads of the server" },
};
/* clang-format on */

/* ---- which format ------------------------------------------------------------------ */

/* The weight that Accept gives a type; 0 if it does not name it. */
static double weight_of(const char *accept, const char *type)
{
    double weight = 0;

    while (accept && *accept) {
        const char *end = accept + strcspn(accept, ",");
        const char *q;

        accept += strspn(accept, " \t");
        if (strncasecmp(accept, type, strlen(type)) == 0 &&
            strchr(" \t;,", accept[strlen(type)])) { /* or its end */
            q = strstr(accept, "q=");
            weight = q && q < end ? strtod(q + 2, NULL) : 1;
        }
        accept = *end ? end + 1 : end;
    }
    return weight;
}

enum metrics_format metrics_format_of(const char *accept)
{
    double open = weight_of(accept, "application/openmetrics-text");

    return open > 0 && open >= weight_of(accept, "text/plain") ? METRICS_OPEN
                                                               : METRICS_TEXT;
}

/* ---- text -------------------------------------------------------------------------- */

static bool ends_with(const char *text, size_t len, const char *end)
{
    return len >= strlen(end) && memcmp(text + len - strlen(end), end, strlen(end)) == 0;
}

/* Bytes of the name that are the family's. */
static size_t family_len(const struct metrics_text *text,
                         const struct metric_family *family)
{
    size_t len = strlen(family->name);

    if (text->format == METRICS_TEXT)
        return len;
    if (family->type == METRIC_COUNTER)
        return len - strlen("_total");
    return family->type == METRIC_INFO ? len - strlen("_info") : len;
}

void metrics_begin(struct metrics_text *text, struct buf *out, enum metrics_format format)
{
    *text = (struct metrics_text){ .out = out, .format = format };
}

void metrics_family(struct metrics_text *text, enum metric which)
{
    const struct metric_family *family = &metric_families[which];
    bool open = text->format == METRICS_OPEN;
    int len = (int)family_len(text, family);
    enum metric_type type = family->type;

    text->family = which;
    if (type == METRIC_INFO && !open)
        type = METRIC_GAUGE; /* this format knows no other */
    buf_addf(text->out, "# HELP %.*s %s.\n# TYPE %.*s %s\n", len, family->name,
             family->help, len, family->name, metric_type_names[type]);
    if (open && ends_with(family->name, (size_t)len, "_seconds"))
        buf_addf(text->out, "# UNIT %.*s seconds\n", len, family->name);
    if (open && ends_with(family->name, (size_t)len, "_bytes"))
        buf_addf(text->out, "# UNIT %.*s bytes\n", len, family->name);
}

/* `a="b",c="d"` into text->labels. */
static void write_labels(struct metrics_text *text, va_list args)
{
    const char *name;

    buf_reset(&text->labels);
    while ((name = va_arg(args, const char *))) {
        buf_addf(&text->labels, "%s%s=\"", text->labels.len ? "," : "", name);
        for (const char *c = va_arg(args, const char *); *c; c++) {
            if (*c == '\\' || *c == '"')
                buf_add_char(&text->labels, '\\');
            if (*c == '\n')
                buf_add_str(&text->labels, "\\n");
            else
                buf_add_char(&text->labels, *c);
        }
        buf_add_char(&text->labels, '"');
    }
    text->out->failed |= text->labels.failed;
}

/* One line; `more` is another label, or "". */
static void write_sample(struct metrics_text *text, const char *suffix, const char *more,
                         double value)
{
    struct text labels = buf_text(&text->labels);

    buf_addf(text->out, "%s%s", metric_families[text->family].name, suffix);
    if (labels.len || *more) {
        buf_add_char(text->out, '{');
        buf_add_text(text->out, labels);
        buf_addf(text->out, "%s%s}", labels.len && *more ? "," : "", more);
    }
    /* Whole numbers as such, as far as a double holds them all. */
    buf_addf(text->out,
             fabs(value) < 0x1p53 && floor(value) == value ? " %.0f\n" : " %.15g\n",
             value);
}

void metrics_add(struct metrics_text *text, double value, ...)
{
    va_list args;

    va_start(args, value);
    write_labels(text, args);
    va_end(args);
    write_sample(text, "", "", value);
}

void metrics_add_histogram(struct metrics_text *text, const struct histogram *histogram,
                           ...)
{
    const struct histogram_scale *scale = histogram->scale;
    uint64_t below = 0;
    char le[40];
    va_list args;

    va_start(args, histogram);
    write_labels(text, args);
    va_end(args);
    for (unsigned i = 0; i < scale->count; i++) {
        double bound = (double)scale->bounds[i] * scale->unit;

        below += histogram->buckets[i];
        /* A bound is a number with a point in OpenMetrics. */
        (void)snprintf(le, sizeof(le), bound < 1 ? "le=\"%g\"" : "le=\"%.1f\"", bound);
        write_sample(text, "_bucket", le, (double)below);
    }
    below += histogram->buckets[scale->count];
    write_sample(text, "_bucket", "le=\"+Inf\"", (double)below);
    write_sample(text, "_sum", "", (double)histogram->sum * scale->unit);
    write_sample(text, "_count", "", (double)below);
}

void metrics_end(struct metrics_text *text)
{
    if (text->format == METRICS_OPEN)
        buf_add_str(text->out, "# EOF\n");
    buf_clear(&text->labels);
}
