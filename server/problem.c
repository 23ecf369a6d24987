/* SPDX-License-Identifier: MIT */
#include "server/problem.h"

#include <string.h>

const struct problem_info problem_infos[PROBLEM_COUNT] = {
    [PROBLEM_INVALID_JSON] = { "invalid-json", 400, "The body is not valid JSON",
                               "The body has to be one JSON document (RFC 8259) in "
                               "UTF-8. The detail names the byte, "
                               "counted from 0, where reading stopped." },
    [PROBLEM_JSON_TOO_DEEP] = { "json-too-deep", 400, "The JSON is nested too deeply",
                                "The setting max_json_depth says how deep arrays and "
                                "objects may be nested, the outermost included." },
    [PROBLEM_INVALID_PARAMETER] = { "invalid-parameter", 400,
                                    "A query parameter or header is not valid",
                                    "The detail names the parameter, its value and what "
                                    "it may be." },
    [PROBLEM_INVALID_URI] = { "invalid-uri", 400, "The request target is not valid",
                              "The path has to start with one slash and consist of "
                              "visible ASCII characters, without "
                              "empty or dot segments and without encoded slashes, "
                              "backslashes, dots or NUL." },
    [PROBLEM_BAD_REQUEST] = { "bad-request", 400, "The request is not valid HTTP",
                              "A header is missing, doubled or malformed. The detail "
                              "says which." },
    [PROBLEM_UNAUTHORIZED] = { "unauthorized", 401, "The request has no valid key",
                               "Send Authorization: Bearer and a key that the operator "
                               "has "
                               "made (poold key new), and that has not expired." },
    [PROBLEM_FORBIDDEN] = { "forbidden", 403, "The key is not for this",
                            "The key lacks the scope, or is not for the task, that the "
                            "detail names. The operator can make another one." },
    [PROBLEM_FORBIDDEN_ORIGIN] = { "forbidden-origin", 403,
                                   "Pages of other sites may not do this",
                                   "The header Origin names another host than the "
                                   "request "
                                   "itself: a browser sends it for a page from there." },
    [PROBLEM_UNKNOWN_HOST] = { "unknown-host", 421,
                               "This server does not go by that name",
                               "The header Host has to be one of the setting "
                               "allowed_hosts. Without keys, and on a loopback address, "
                               "its default is that address: else a page from anywhere "
                               "could reach the server through a name that leads to "
                               "it." },
    [PROBLEM_RATE_LIMITED] = { "rate-limited", 429, "The key asks too often",
                               "Try again after the seconds in Retry-After. The headers "
                               "RateLimit-Policy and RateLimit of every answer tell how "
                               "much is left." },
    [PROBLEM_TOO_MANY_REQUESTS] = { "too-many-requests", 429,
                                    "The key has too many requests at a time",
                                    "The setting max_key_requests bounds how many "
                                    "requests of a key are answered or wait at a time. "
                                    "Nothing was done. Try again after the seconds in "
                                    "Retry-After, or when one of the others is over." },
    [PROBLEM_QUOTA_EXCEEDED] = { "quota-exceeded", 429, "The key has too many jobs",
                                 "As many jobs of this key, or bytes of their inputs, as "
                                 "it may have are not over yet. Nothing was created. Try "
                                 "again when some are." },
    [PROBLEM_KEY_EXISTS] = { "key-exists", 409, "There is a key of this name already",
                             "Use another name, or rotate or revoke that key." },
    [PROBLEM_TOO_MANY_KEYS] = { "too-many-keys", 409, "There are too many keys",
                                "There may be 1,000. Revoke some." },
    [PROBLEM_UNSUPPORTED_MEDIA_TYPE] = { "unsupported-media-type", 415,
                                         "The body is not declared as JSON",
                                         "Send Content-Type: application/json, in UTF-8 "
                                         "and not compressed." },
    [PROBLEM_BODY_TOO_LARGE] = { "body-too-large", 413, "The body is too large",
                                 "Split the job, or have the operator raise the setting "
                                 "max_body_bytes." },
    [PROBLEM_TOO_MANY_ITEMS] = { "too-many-items", 413, "The job has too many items",
                                 "Split the job, or have the operator raise the setting "
                                 "max_items." },
    [PROBLEM_ITEM_TOO_LARGE] = { "item-too-large", 413, "An item is too large",
                                 "Pass a reference to the data instead of the data, or "
                                 "have the operator raise the "
                                 "setting max_item_bytes." },
    [PROBLEM_VALIDATION_FAILED] = { "validation-failed", 422,
                                    "The request was understood but refused",
                                    "One or more members are wrong. `errors` points at "
                                    "each of them. Nothing was created." },
    [PROBLEM_UNKNOWN_TASK] = { "unknown-task", 422, "There is no such task",
                               "GET /v1/tasks lists the tasks that the workers can "
                               "run." },
    [PROBLEM_UNKNOWN_POOL] = { "unknown-pool", 422, "There is no such pool",
                               "GET /v1/pools lists the pools." },
    [PROBLEM_NOT_FOUND] = { "not-found", 404, "There is nothing at this address",
                            "The path, or the job, task, pool or problem that it names, "
                            "is not known: it never was, or "
                            "it has been deleted." },
    [PROBLEM_METHOD_NOT_ALLOWED] = { "method-not-allowed", 405,
                                     "The method does not work here",
                                     "The header Allow lists the methods that do." },
    [PROBLEM_NOT_IMPLEMENTED] = { "not-implemented", 501, "The method is not known",
                                  "This server knows GET, HEAD, POST, PATCH, DELETE and "
                                  "OPTIONS." },
    [PROBLEM_JOB_RUNNING] = { "job-running", 409, "The job is running already",
                              "A running job is cancelled only with {\"terminate\": "
                              "true}, which kills the workers that "
                              "run it." },
    [PROBLEM_ALREADY_FINISHED] = { "already-finished", 409, "The job is over",
                                   "It has succeeded, failed or expired and can no "
                                   "longer be cancelled." },
    [PROBLEM_NOT_FINISHED] = { "not-finished", 409, "The job is not over yet",
                               "Only a finished job can be deleted. Cancel it first." },
    [PROBLEM_NOT_FAILED] = { "not-failed", 409, "The job has not failed",
                             "Only what has failed can be run again: a failed job with "
                             "the items that have no result." },
    [PROBLEM_JOB_CANCELLED] = { "job-cancelled", 409, "The job was cancelled",
                                "It has no result. Items that were done before stay "
                                "readable at its `results`." },
    [PROBLEM_JOB_EXPIRED] = { "job-expired", 409, "The job has expired",
                              "It was not started within its `expires_in`." },
    [PROBLEM_RESULT_GONE] = { "result-gone", 410, "The result is no longer kept",
                              "Results are kept for `result_ttl` seconds after the end "
                              "of the job, or less, if the settings max_finished_jobs "
                              "and "
                              "max_finished_bytes leave no room." },
    [PROBLEM_RESULT_CORRUPT] = { "result-corrupt", 500, "The stored result is damaged",
                                 "Its checksum does not match: the disk or another "
                                 "program changed the database. Other "
                                 "jobs are not affected. Run the job again." },
    [PROBLEM_IDEMPOTENCY_MISMATCH] = { "idempotency-mismatch", 422,
                                       "The Idempotency-Key was used for another request",
                                       "The same key may only be sent again with the "
                                       "same request. Use a new key for a new job." },
    [PROBLEM_UNIQUE_CONFLICT] = { "unique-conflict", 409,
                                  "A job with this unique_key is not over yet",
                                  "`job` is its id. Nothing was created: `on_conflict` "
                                  "is "
                                  "\"reject\", or it is \"replace\" and that job runs "
                                  "already." },
    [PROBLEM_QUEUE_FULL] = { "queue-full", 503, "Too many jobs are waiting",
                             "The job was not created. Try again after the seconds in "
                             "Retry-After." },
    [PROBLEM_TOO_MANY_WAITERS] = { "too-many-waiters", 503,
                                   "Too many requests are waiting",
                                   "The setting max_waiters bounds how many requests may "
                                   "wait for jobs at a time. Nothing was "
                                   "created. Use the _async form, or try again after the "
                                   "seconds in Retry-After." },
    [PROBLEM_TOO_MANY_CONNECTIONS] = { "too-many-connections", 503,
                                       "Too many connections are at work",
                                       "As many as the setting max_connections allows "
                                       "have requests. Nothing was done. Try again after "
                                       "the seconds in Retry-After." },
    [PROBLEM_TOO_MANY_BODIES] = { "too-many-bodies", 503,
                                  "Too many bodies are coming at once",
                                  "The setting max_bodies_bytes bounds the bytes of "
                                  "bodies that are not complete. Nothing was done. Try "
                                  "again after the seconds in Retry-After." },
    [PROBLEM_SHUTTING_DOWN] = { "shutting-down", 503, "The server is shutting down",
                                "It takes no new jobs. Those that it has acknowledged go "
                                "on after its restart." },
    [PROBLEM_STORAGE_FULL] = { "storage-full", 503, "The storage is full",
                               "The job does not exist. Free some disk space where the "
                               "data directory is: less is left than the setting "
                               "disk_high keeps for the results of jobs that exist." },
    [PROBLEM_STORAGE_UNREADABLE] = { "storage-unreadable", 503,
                                     "The storage could not be read",
                                     "The disk has failed to read. Nothing was changed; "
                                     "the same request may succeed later." },
    [PROBLEM_STORAGE_ERROR] = { "storage-error", 503, "The storage has failed",
                                "Whether the job exists is not known. The server "
                                "restarts; a retry with the same "
                                "Idempotency-Key makes exactly one job." },
    [PROBLEM_NOT_READY] = { "not-ready", 503, "The server is not ready",
                            "The detail names what fails: the store, the workers, or a "
                            "shutdown in progress." },
    [PROBLEM_NO_MEMORY] = { "no-memory", 503, "The server is short of memory",
                            "Nothing is wrong with the request; whether it was carried "
                            "out is not known. Try again after the seconds in "
                            "Retry-After: with the same Idempotency-Key that makes "
                            "exactly one job." },
    [PROBLEM_INTERNAL_ERROR] = { "internal-error", 500, "The server could not do it",
                                 "The server met a condition that it cannot handle; its "
                                 "log says more." },
    [PROBLEM_EXPECTATION_FAILED] = { "expectation-failed", 417,
                                     "The expectation is not supported",
                                     "The only expectation that works is Expect: "
                                     "100-continue." },
    [PROBLEM_URI_TOO_LONG] = { "uri-too-long", 414, "The request target is too long",
                               "The setting max_uri_bytes bounds path and query." },
    [PROBLEM_HEADERS_TOO_LARGE] = { "headers-too-large", 431,
                                    "There are too many or too large headers",
                                    "The settings max_headers and max_header_bytes say "
                                    "how many there may be, and how large each." },
    [PROBLEM_VERSION_NOT_SUPPORTED] = { "version-not-supported", 505,
                                        "The HTTP version is not supported",
                                        "This server speaks HTTP/1.1 and HTTP/1.0." },
    [PROBLEM_POOL_EXISTS] = { "pool-exists", 409, "There is a pool of this name already",
                              "Use another name, or delete that pool first." },
    [PROBLEM_POOL_CLOSED] = { "pool-closed", 409, "The pool is not running",
                              "It was closed or terminated, and takes no jobs and no "
                              "changes any more. Use another pool, or delete this one "
                              "and "
                              "make it anew." },
    [PROBLEM_POOL_RUNNING] = { "pool-running", 409, "The pool is still running",
                               "Close or terminate it before joining it." },
    [PROBLEM_POOL_DEFAULT] = { "pool-default", 409, "The default pool cannot be deleted",
                               "It belongs to the server. It can be closed or "
                               "terminated; the next start of the server makes it "
                               "anew." },
    [PROBLEM_BROKEN_POOL] = { "broken-pool", 409, "The pool is broken",
                              "Its initializer has failed again and again; the detail "
                              "and `exception` say how. Its jobs have failed. Delete the "
                              "pool and make it anew." },
    [PROBLEM_TOO_MANY_PROCESSES] = { "too-many-processes", 409,
                                     "The pools have too many processes",
                                     "The setting max_processes bounds how many worker "
                                     "processes all pools may have together, and so do "
                                     "the descriptors that the server may open (ulimit "
                                     "-n). Nothing was changed. Delete or shrink another "
                                     "pool." },
    [PROBLEM_NO_BACKUPS] = { "no-backups", 409, "No backups are made here",
                             "They go into the folder that the setting backup_dir names, "
                             "and there has to be a database." },
    [PROBLEM_BACKUP_EXISTS] = { "backup-exists", 409, "There is a file of this name",
                                "Backups never write over a file. Choose another name, "
                                "or "
                                "move the file away." },
    [PROBLEM_BACKUP_RUNNING] = { "backup-running", 409, "A backup is being made",
                                 "One is made at a time. Try again when it is done." },
    [PROBLEM_BACKUP_FAILED] = { "backup-failed", 500, "The backup could not be made",
                                "Nothing of it is left. The disk may be full or not "
                                "writable, or the database damaged; jobs are not "
                                "affected "
                                "by the attempt." },
    [PROBLEM_INPUT_INCOMPLETE] = { "input-incomplete", 422,
                                   "The input of the job did not come to its end",
                                   "The items of this job were fed line by line, and the "
                                   "detail says why no more came. Results of those that "
                                   "came before stand. The items are not kept: feed what "
                                   "has no result to a new job." },
    [PROBLEM_TASK_ERROR] = { "task-error", 422, "The task raised an error",
                             "`exception` holds its type, message and traceback, `item` "
                             "the index of the input." },
    [PROBLEM_WORKER_LOST] = { "worker-lost", 422, "The worker died while it ran the item",
                              "`signal` or `exit_code` says how. The item was tried "
                              "again `crash_retries` times. Other items "
                              "of the job are not affected." },
    [PROBLEM_TIME_LIMIT] = { "time-limit", 422, "The item ran longer than its time limit",
                             "The worker was killed when `time_limit` seconds had "
                             "passed, or the task's program when its own limit had. "
                             "Raise the limit or give the item less to do." },
    [PROBLEM_OUT_OF_MEMORY] = { "out-of-memory", 422,
                                "The item needed more memory than it may use",
                                "The task could not get memory, or its worker was killed "
                                "when it, with all that it had started, had more than "
                                "its "
                                "memory_limit in use." },
    [PROBLEM_RESULT_TOO_LARGE] = { "result-too-large", 422, "The result is too large",
                                   "That of the item, or, if none is named, those of the "
                                   "job together. Store large results elsewhere and "
                                   "return a reference, or have the operator raise the "
                                   "setting max_result_bytes or max_job_result_bytes." },
    [PROBLEM_INVALID_RESULT] = { "invalid-result", 422,
                                 "The task returned what is not JSON",
                                 "A result has to be one JSON value in UTF-8." },
    [PROBLEM_PROTOCOL_ERROR] = { "protocol-error", 422, "The task broke the protocol",
                                 "The worker or program wrote something that the server "
                                 "cannot read, and was replaced." },
};

static const bool only_of_jobs[PROBLEM_COUNT] = {
    [PROBLEM_INPUT_INCOMPLETE] = true, [PROBLEM_TASK_ERROR] = true,
    [PROBLEM_WORKER_LOST] = true,      [PROBLEM_TIME_LIMIT] = true,
    [PROBLEM_OUT_OF_MEMORY] = true,    [PROBLEM_RESULT_TOO_LARGE] = true,
    [PROBLEM_INVALID_RESULT] = true,   [PROBLEM_PROTOCOL_ERROR] = true,
};

bool problem_is_of_request(enum problem problem)
{
    return !only_of_jobs[problem];
}

enum problem problem_find(struct text slug)
{
    enum problem i = 0;

    while (i < PROBLEM_COUNT && !text_equals(slug, problem_infos[i].slug))
        i++;
    return i;
}

/* How many bytes the UTF-8 character at the start of text has; 0 if it is none. */
static size_t character_len(struct text text)
{
    const unsigned char *at = (const unsigned char *)text.at;
    size_t len = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if ((at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4 || len > text.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* The second byte rules out overlong forms, surrogates, and what is above U+10FFFF.
     */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return len;
}

/* Details quote what clients sent, which may be no UTF-8, or was cut inside a character:
 * such bytes become U+FFFD. */
static void add_detail(struct buf *out, struct text detail)
{
    struct buf clean = BUF_INIT;

    while (detail.len) {
        size_t len = character_len(detail);

        if (len)
            buf_add(&clean, detail.at, len);
        else
            buf_add_str(&clean, "\xef\xbf\xbd");
        detail.at += len ? len : 1;
        detail.len -= len ? len : 1;
    }
    buf_add_json_string(out, buf_text(&clean));
    out->failed |= clean.failed;
    buf_clear(&clean);
}

void problem_open(struct buf *out, enum problem problem, struct text detail)
{
    const struct problem_info *info = &problem_infos[problem];

    buf_addf(out, "{\"type\":\"/problems/%s\",\"title\":\"%s\",\"status\":%d", info->slug,
             info->title, info->status);
    if (detail.len) {
        buf_add_str(out, ",\"detail\":");
        add_detail(out, detail);
    }
}
