/* SPDX-License-Identifier: MIT */
#include "server/setting.h"

#include "common/buf.h"
#include "common/json_scan.h"
#include "server/config.h"
#include "server/job_json.h"
#include "server/webhook.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define NAME_TYPOS   2 /* edits that still make a suggestion */
#define HELP_COLUMNS 80
#define HELP_INDENT  8
/* A frame between processes and a row of the database hold this with room to spare. */
#define BYTES_MAX (512u << 20)

#define AT(member) .offset = offsetof(struct config, member)

/* Of "NAME,NAME": each may be a Python module, "os.path". */
static const char *python_module_check(const char *names)
{
    bool at_start = true; /* of an identifier */

    for (const char *p = names; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_';
        bool digit = *p >= '0' && *p <= '9';

        if (at_start ? !letter : !letter && !digit && *p != '.' && *p != ',')
            return "is not a name of a Python module";
        at_start = *p == '.' || *p == ',';
    }
    return at_start ? "is not a name of a Python module" : NULL;
}

/* The table keeps its own layout: what a setting is, its range, what it means. */
/* clang-format off */
const struct setting settings[] = {
    [SETTING_CONFIG] = { "config", SETTING_FILE,
      .group = "Where", .value = "FILE", .initial_help = "none",
      .help = "JSON file with settings, an object." },
    [SETTING_LISTEN] = { "listen", SETTING_ADDRESS, AT(listen), .initial = "127.0.0.1:8080",
      .value = "HOST:PORT",
      .help = "Numeric address or localhost, and port, to listen on. IPv6 in brackets: "
              "[::1]:8080. Port 0 takes any free one; the log says which." },
    [SETTING_ADMIN_LISTEN] = { "admin_listen", SETTING_ADDRESS, AT(admin_listen),
      .value = "HOST:PORT", .initial_help = "none",
      .help = "A second address, for health checks, /metrics and /v1/admin, which the first "
              "one then no longer has but for the health checks. It has connections of its "
              "own, and answers when the first one has none left." },
    { "tls_cert", SETTING_TEXT, AT(tls_cert),
      .value = "FILE", .initial_help = "none",
      .help = "Speak TLS (1.2 or later) only, with this certificate: in PEM, behind it those "
              "of its chain. It is read again at SIGHUP." },
    { "tls_key", SETTING_TEXT, AT(tls_key),
      .value = "FILE", .initial_help = "none",
      .help = "The private key of the certificate, in PEM." },
    { "insecure", SETTING_BOOL, AT(insecure), .initial = "false",
      .value = "true|false",
      .help = "Allow an address that others can reach although there are no API keys: everyone "
              "who reaches the port can run tasks, read results and cancel jobs. Only for use "
              "behind something that authenticates. With keys (poold key new) it is not needed." },
    { "allowed_hosts", SETTING_LIST, AT(allowed_hosts),
      .value = "HOST", .initial_help = "any; on a loopback address without keys that, localhost",
      .help = "Name that clients may call the server by, in the header Host, without its port; "
              "repeatable, in the file an array. Others: 421 unknown-host." },
    { "data", SETTING_TEXT, AT(data), .initial = "./data",
      .value = "DIR",
      .help = "Directory of the database. Made when it is missing." },
    { "store", SETTING_CHOICE, AT(store), .initial = "sqlite",
      .choices = store_kind_names, .choice_count = STORE_KIND_COUNT,
      .value = "sqlite|memory",
      .help = "Where jobs are kept. memory: nowhere, a restart forgets them all." },
    { "backup_dir", SETTING_TEXT, AT(backup_dir),
      .value = "DIR", .initial_help = "none",
      .help = "Folder that POST /v1/admin/backup may make copies of the database in. Without "
              "it there are none over HTTP; the command `poold backup` needs no setting." },
    { "disk_high", SETTING_NUMBER, AT(disk_high),
      .max = 1ull << 50,
      .value = "BYTES", .initial_help = "268435456, or 5 % of the volume",
      .help = "Free space of the data directory's volume below which no jobs are taken that "
              "have to be stored: 503 storage-full. 0: never, and disk_low neither. The default "
              "is the smaller one of the two." },
    { "disk_low", SETTING_NUMBER, AT(disk_low),
      .max = 1ull << 50,
      .value = "BYTES", .initial_help = "67108864, or 1.25 % of it",
      .help = "Free space below which no work is handed out, either, and the ballast is "
              "deleted: a file of this size in the data directory, for the results of what "
              "still runs. 0: never, and there is no ballast." },

    { "tasks", SETTING_LIST, AT(tasks),
      .group = "Work", .value = "DIR", .initial_help = "none",
      .help = "Folder whose files hold tasks: *.so, *.py, *.json; repeatable, in the file an "
              "array. What is in it is looked at when the service starts and at SIGHUP." },
    { "probe_timeout", SETTING_SECONDS, AT(probe_timeout_ms), .initial = "10",
      .min = 1 * MS_PER_S, .max = 300ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long looking at one file of tasks may take. One that takes longer is "
              "refused, and the others are served." },
    { "python", SETTING_TEXT, AT(python), .initial = "python3",
      .value = "COMMAND",
      .help = "Interpreter that runs the tasks of *.py files, 3.9 or later: a path, for "
              "instance of a virtual environment's python, or a name to be found in PATH." },
    { "python_modules", SETTING_LIST, AT(python_modules), .check = python_module_check,
      .value = "NAME", .initial_help = "none",
      .help = "Module whose functions are tasks as well, as math:sqrt; repeatable, in the "
              "file an array. The interpreter has to be able to import it." },
    { "processes", SETTING_NUMBER, AT(processes), .min = 1, .max = PROCESSES_MAX,
      .value = "N", .initial_help = "the CPUs that may be used",
      .help = "Worker processes of the default pool." },
    { "max_tasks_per_child", SETTING_NUMBER, AT(max_tasks_per_child), .initial = "0",
      .max = 1ull << 50,
      .value = "N",
      .help = "Chunks after which a worker is replaced, of the default pool and of pools that "
              "are made without maxtasksperchild. 0: never." },
    { "crash_retries", SETTING_NUMBER, AT(crash_retries), .initial = "2",
      .max = RETRIES_MAX,
      .value = "N",
      .help = "Extra attempts at an item whose worker died, for jobs that do not say." },
    { "time_limit", SETTING_SECONDS, AT(time_limit_ms), .initial = "0",
      .max = 2592000ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long an attempt at one item may run before it is killed, unless its job "
              "says otherwise. 0: no limit." },
    { "cancel_grace", SETTING_SECONDS, AT(cancel_grace_ms), .initial = "5",
      .max = 3600ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long a task that asks whether its job has been cancelled may take to put "
              "things in order before it is killed. Others are killed at once." },
    { "drain_timeout", SETTING_SECONDS, AT(drain_timeout_ms), .initial = "8",
      .max = 3600ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long SIGTERM lets running items finish. What is not done by then is done "
              "again after the next start. Stay below what the process manager allows "
              "(docker stop: 10 seconds)." },

    { "sandbox", SETTING_CHOICE, AT(sandbox), .initial = "auto",
      .choices = sandbox_mode_names, .choice_count = SANDBOX_MODE_COUNT,
      .group = "What tasks may do", .value = "auto|off",
      .help = "auto: tasks cannot read the data directory nor use what is for administrators, "
              "as far as the kernel can see to that; the log says how far. They cannot make files "
              "right beside the data directory or above it, either." },
    { "cgroup", SETTING_TEXT, AT(cgroup), .initial = "auto",
      .value = "auto|off|DIR",
      .help = "Control group, version 2, in which each worker gets one of its own: then "
              "memory_limit and process_limit hold for all that a task starts together, and "
              "all of it ends with the worker. auto: that of the server, if delegated." },
    { "scratch_dir", SETTING_TEXT, AT(scratch_dir),
      .value = "DIR", .initial_help = "$TMPDIR, or /tmp",
      .help = "Where workers have their scratch folders: the working directory of tasks, "
              "emptied behind each." },
    { "task_write", SETTING_LIST, AT(task_write),
      .value = "DIR", .initial_help = "wherever the user may",
      .help = "Folder that tasks may write into, and nowhere else but their scratch folder; "
              "repeatable, in the file an array. Needs sandbox auto and a kernel with Landlock." },
    { "task_user", SETTING_TEXT, AT(task_user),
      .value = "NAME|UID[:GID]", .initial_help = "the user of the server",
      .help = "User that workers are, if the server is started as root." },
    { "max_worker_rss", SETTING_NUMBER, AT(max_worker_rss), .initial = "0",
      .max = 1ull << 50,
      .value = "BYTES",
      .help = "Memory in use beyond which a worker is replaced when it has finished what it is "
              "at. 0: never." },
    { "cpu_limit", SETTING_SECONDS, AT(limits.cpu_ms), .initial = "0",
      .max = CPU_LIMIT_MAX_MS,
      .value = "SECONDS",
      .help = "How much processor time an attempt at one item may use, in steps of a second. "
              "This and the next four hold for pools and tasks that do not say. 0: no limit." },
    { "memory_limit", SETTING_NUMBER, AT(limits.at[LIMIT_MEMORY]), .initial = "0",
      .max = 1ull << 50,
      .value = "BYTES",
      .help = "Address space of a worker, at least 67108864. 0: no limit." },
    { "file_size_limit", SETTING_NUMBER, AT(limits.at[LIMIT_FILE_SIZE]), .initial = "0",
      .max = 1ull << 50,
      .value = "BYTES",
      .help = "Size of a file that a task writes. 0: no limit." },
    { "open_files_limit", SETTING_NUMBER, AT(limits.at[LIMIT_OPEN_FILES]), .initial = "0",
      .max = 1u << 20,
      .value = "N",
      .help = "Files that a worker may have open, at least 32. 0: no limit." },
    { "process_limit", SETTING_NUMBER, AT(limits.at[LIMIT_PROCESSES]), .initial = "0",
      .max = 1u << 22,
      .value = "N",
      .help = "Processes and threads that the user of the workers may have in all; root has "
              "no limit. 0: no limit." },

    { "max_body_bytes", SETTING_NUMBER, AT(max_body_bytes), .initial = "67108864",
      .min = 1, .max = BYTES_MAX,
      .group = "Limits", .value = "BYTES",
      .help = "Body of one request. More: 413 body-too-large." },
    { "max_bodies_bytes", SETTING_NUMBER, AT(max_bodies_bytes), .initial = "268435456",
      .min = 1, .max = 1ull << 40,
      .value = "BYTES",
      .help = "Bodies that are not complete, together; one is always taken. More: 503 "
              "too-many-bodies." },
    { "max_uri_bytes", SETTING_NUMBER, AT(max_uri_bytes), .initial = "2048",
      .min = 256, .max = 8192,
      .value = "BYTES",
      .help = "Target of a request, its path and query. More: 414 uri-too-long. With more than "
              "the defaults of this and the next two a connection takes more than 32 KiB." },
    { "max_headers", SETTING_NUMBER, AT(max_headers), .initial = "64",
      .min = 16, .max = 256,
      .value = "N",
      .help = "Headers of a request. More: 431 headers-too-large." },
    { "max_header_bytes", SETTING_NUMBER, AT(max_header_bytes), .initial = "8192",
      .min = 1024, .max = 16384,
      .value = "BYTES",
      .help = "The value of one header. More: 431 headers-too-large." },
    { "max_items", SETTING_NUMBER, AT(max_items), .initial = "10000000",
      .min = 1, .max = 1000000000,
      .value = "N",
      .help = "Items of one job. More: 413 too-many-items." },
    { "max_item_bytes", SETTING_NUMBER, AT(max_item_bytes), .initial = "16777216",
      .min = 1, .max = BYTES_MAX,
      .value = "BYTES",
      .help = "JSON text of one item. More: 413 item-too-large." },
    { "max_json_depth", SETTING_NUMBER, AT(max_json_depth), .initial = "64",
      .min = 4, .max = SLICE_DEPTH_MAX, /* 4: an item's arguments, of a starmap in a batch */
      .value = "N",
      .help = "How deep arrays and objects may be nested in what clients send, the outermost "
              "counts 1. Deeper: 400 json-too-deep. 4 is what requests need whose arguments are "
              "neither." },
    { "max_result_bytes", SETTING_NUMBER, AT(max_result_bytes), .initial = "16777216",
      .min = 1, .max = BYTES_MAX,
      .value = "BYTES",
      .help = "JSON text of one item's result. More: the item fails, result-too-large." },
    { "max_job_result_bytes", SETTING_NUMBER, AT(max_job_result_bytes),
      .initial = "268435456", .min = 1, .max = 1ull << 50,
      .value = "BYTES",
      .help = "The results and errors of one job together, but for those of items that were fed "
              "which their client has read. More: the job fails, result-too-large." },
    { "max_log_bytes", SETTING_NUMBER, AT(max_log_bytes), .initial = "1048576",
      .max = 64u << 20,
      .value = "BYTES",
      .help = "JSON text of what one job's tasks have printed. More: the oldest goes. 0: none "
              "of it is kept." },
    { "max_attempt_log_bytes", SETTING_NUMBER, AT(max_attempt_log_bytes),
      .initial = "65536", .min = 1024, .max = 1u << 20,
      .value = "BYTES",
      .help = "What one attempt at an item may print, or items whose results come together. "
              "More: the last of it is kept, of what fits into max_log_bytes. A worker that "
              "prints takes twice as much memory." },
    { "max_batch_jobs", SETTING_NUMBER, AT(max_batch_jobs), .initial = "1000",
      .min = 1, .max = 10000,
      .value = "N",
      .help = "Jobs of one batch. More: 422 validation-failed." },
    { "max_queued_jobs", SETTING_NUMBER, AT(max_queued_jobs), .initial = "100000",
      .min = 1, .max = 10000000,
      .value = "N",
      .help = "Jobs that are not over yet, in all. More: 503 queue-full." },
    { "max_queued_bytes", SETTING_NUMBER, AT(max_queued_bytes), .initial = "4294967296",
      .min = 1, .max = 1ull << 50,
      .value = "BYTES",
      .help = "Their inputs together; one job is always taken. More: 503 queue-full." },
    { "queue_window", SETTING_NUMBER, AT(queue_window), .initial = "10000",
      .min = 1, .max = 10000000,
      .value = "N",
      .help = "Jobs of each pool that wait and are held whole in memory: those that are next. "
              "Of the others memory holds a record; they are read from the database before "
              "their turn. Jobs of equal priority take turns within the window." },
    { "queue_window_bytes", SETTING_NUMBER, AT(queue_window_bytes), .initial = "268435456",
      .min = 1, .max = 1ull << 50,
      .value = "BYTES",
      .help = "Inputs of these jobs; one job is held whole whatever its size." },
    { "max_processes", SETTING_NUMBER, AT(max_processes), .initial = "1024",
      .min = 1, .max = 65536,
      .value = "N",
      .help = "Worker processes of all pools together, beyond which no pool is made or "
              "grows: 409 too-many-processes." },
    { "max_connections", SETTING_NUMBER, AT(max_connections), .initial = "1024",
      .min = 1, .max = 65536,
      .value = "N",
      .help = "Connections at a time. When there are more, the one that is idle longest is closed; "
              "if all have requests: 503 too-many-connections, but for /healthz, /readyz and "
              "/metrics." },
    { "max_key_requests", SETTING_NUMBER, AT(max_key_requests), .initial = "512",
      .min = 1, .max = 65536,
      .value = "N",
      .help = "Requests with the same API key at a time, those that wait and streams among them. "
              "More: 429 too-many-requests." },
    { "max_waiters", SETTING_NUMBER, AT(max_waiters), .initial = "512",
      .min = 1, .max = 65536,
      .value = "N",
      .help = "Requests that wait for a job at a time. More: 503 too-many-waiters." },
    { "max_wait", SETTING_SECONDS, AT(max_wait_ms), .initial = "60",
      .max = 3600ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long a request may wait for a job. One that asks for more gets this." },
    { "header_timeout", SETTING_SECONDS, AT(header_timeout_ms), .initial = "10",
      .min = 1 * MS_PER_S, .max = 3600ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long the headers of a request may take, from the connection on. Then it is "
              "closed. Looked at once a second, as is the next one." },
    { "body_timeout", SETTING_SECONDS, AT(body_timeout_ms), .initial = "60",
      .min = 1 * MS_PER_S, .max = 86400ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long a body may take behind its headers. Items that are fed may take longer, "
              "once the first line is there." },
    { "answer_timeout", SETTING_SECONDS, AT(answer_timeout_ms), .initial = "60",
      .min = 1 * MS_PER_S, .max = 86400ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long a client may take for 64 KiB of an answer, or for what is left of it. "
              "Streams may be read more slowly." },
    { "idle_timeout", SETTING_SECONDS, AT(idle_timeout_ms), .initial = "30",
      .min = 1 * MS_PER_S, .max = 86400ull * MS_PER_S,
      .value = "SECONDS",
      .help = "After how long a connection on which nothing moves is closed." },

    { "result_ttl", SETTING_SECONDS, AT(result_ttl_ms), .initial = "86400",
      .max = 31536000ull * MS_PER_S,
      .group = "What is kept", .value = "SECONDS",
      .help = "How long the result of a job is kept after its end, unless the job says "
              "otherwise. After that: 410 result-gone." },
    { "job_ttl", SETTING_SECONDS, AT(job_ttl_ms), .initial = "604800",
      .min = 86400ull * MS_PER_S, .max = 315360000ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long a job and its Idempotency-Key are known after its end, and at "
              "least as long as its result. After that: 404 not-found." },
    { "max_finished_jobs", SETTING_NUMBER, AT(max_finished_jobs), .initial = "1000000",
      .min = 1, .max = 1000000000,
      .value = "N",
      .help = "Jobs that are over and still known. More: those that ended first are "
              "forgotten." },
    { "max_finished_bytes", SETTING_NUMBER, AT(max_finished_bytes), .initial = "0",
      .max = 1ull << 50,
      .value = "BYTES",
      .help = "Inputs and results of jobs that are over. More: the results of those that "
              "ended first go. 0: no limit." },

    { "callback_allow", SETTING_LIST, AT(callback_allow), .check = webhook_allow_check,
      .group = "Callbacks", .value = "[http://]HOST[:PORT]", .initial_help = "none",
      .help = "Where callbacks may go; repeatable, in the file an array. A host name may only "
              "lead to addresses of the public internet; an address and localhost are taken "
              "as they are. Without a port: 443, 8443 and 80. With http:// also without TLS." },
    { "callback_secret_file", SETTING_TEXT, AT(callback_secret_file),
      .value = "FILE", .initial_help = "callback.secret in the data directory",
      .help = "Holds the secret that callbacks are signed with, whsec_ and base64. The default "
              "is made when callbacks are allowed and it is missing." },
    { "callback_ca_file", SETTING_TEXT, AT(callback_ca_file),
      .value = "FILE", .initial_help = "those of the system",
      .help = "Certificates, in PEM, of the authorities that receivers are trusted by, in place "
              "of the system's." },
    { "callback_timeout", SETTING_SECONDS, AT(callback_timeout_ms), .initial = "10",
      .min = 1 * MS_PER_S, .max = 300ull * MS_PER_S,
      .value = "SECONDS",
      .help = "How long an attempt at a callback may take." },
    { "callback_backoff", SETTING_SECONDS, AT(callback_backoff_ms), .initial = "5",
      .max = 3600ull * MS_PER_S,
      .value = "SECONDS",
      .help = "The pause after the first attempt at a callback. With 5 the others are 5 and 30 "
              "minutes, 2, 5, 10, 14, 20 and 24 hours; they are in proportion." },

    { "log_level", SETTING_CHOICE, AT(log_level), .initial = "info",
      .choices = log_level_names, .choice_count = LOG_LEVEL_COUNT,
      .group = "Log, on standard error", .value = "debug|info|warn|error",
      .help = "The least important lines that are written." },
    { "log_format", SETTING_CHOICE, AT(log_format), .initial = "text",
      .choices = log_format_names, .choice_count = LOG_FORMAT_COUNT,
      .value = "text|json",
      .help = "json: every line is an object." },
    { "access_log", SETTING_CHOICE, AT(access_log), .initial = "errors",
      .choices = access_log_mode_names, .choice_count = ACCESS_LOG_MODE_COUNT,
      .value = "off|errors|all",
      .help = "Which requests have a line: none; those that are answered with 400 and above, "
              "or not at all; every one." },
};
/* clang-format on */

static_assert(sizeof(settings) / sizeof(settings[0]) == SETTING_COUNT,
              "SETTING_COUNT is the number of rows");

/* ---- values ----------------------------------------------------------------------- */

bool setting_limit(const struct setting *setting, const struct config *config,
                   double *ret_value)
{
    const char *at = (const char *)config + setting->offset;

    if (!setting->initial)
        return false;
    if (setting->type == SETTING_NUMBER)
        *ret_value = (double)*(const uint64_t *)(const void *)at;
    else if (setting->type == SETTING_SECONDS)
        *ret_value = (double)*(const int64_t *)(const void *)at / MS_PER_S;
    else
        return false;
    return true;
}

/* ---- names ---- */

void setting_spell(size_t i, enum spelling spelling, char ret_text[SETTING_TEXT_MAX])
{
    static const char *const marks[] = { "", "POOLD_", "--" };
    size_t at = strlen(marks[spelling]);

    assert(at + strlen(settings[i].name) < SETTING_TEXT_MAX);
    memcpy(ret_text, marks[spelling], at);
    for (const char *c = settings[i].name; *c; c++) {
        if (spelling == SPELLING_FLAG && *c == '_')
            ret_text[at++] = '-';
        else if (spelling == SPELLING_ENVIRONMENT && *c >= 'a' && *c <= 'z')
            ret_text[at++] = (char)(*c - 'a' + 'A');
        else
            ret_text[at++] = *c;
    }
    ret_text[at] = '\0';
}

size_t setting_find(const char *text, size_t len, enum spelling spelling)
{
    char name[SETTING_TEXT_MAX];

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        setting_spell(i, spelling, name);
        if (strlen(name) == len && memcmp(name, text, len) == 0)
            return i;
    }
    return SETTING_COUNT;
}

/* Levenshtein's distance; 99 when one is longer than any setting's spelling. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[SETTING_TEXT_MAX + 1];

    if (a_len > SETTING_TEXT_MAX || b_len > SETTING_TEXT_MAX)
        return 99;
    for (unsigned j = 0; j <= b_len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            unsigned step = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);

            diagonal = row[j];
            row[j] = change < step ? change : step;
        }
    }
    return row[b_len];
}

size_t setting_guess(const char *text, size_t len, enum spelling spelling)
{
    char name[SETTING_TEXT_MAX];
    unsigned best = NAME_TYPOS + 1;
    size_t nearest = SETTING_COUNT;

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        unsigned typos;

        setting_spell(i, spelling, name);
        typos = distance(text, len, name, strlen(name));
        if (typos < best) {
            best = typos;
            nearest = i;
        }
    }
    return nearest;
}

/* ---- help ---- */

/* Adds words in lines of at most HELP_COLUMNS, each after HELP_INDENT blanks. */
static void add_wrapped(struct buf *out, const char *words)
{
    size_t column = 0;

    while (*words) {
        size_t len = strcspn(words, " ");

        if (column > 0 && column + 1 + len <= HELP_COLUMNS) {
            buf_add_char(out, ' ');
            column += 1 + len;
        } else {
            buf_addf(out, "%s%*s", column > 0 ? "\n" : "", HELP_INDENT, "");
            column = HELP_INDENT + len;
        }
        buf_add(out, words, len);
        words += len;
        words += strspn(words, " ");
    }
    buf_add_char(out, '\n');
}

static void add_setting(struct buf *out, size_t i)
{
    const struct setting *setting = &settings[i];
    uint64_t unit = setting->type == SETTING_SECONDS ? MS_PER_S : 1;
    char flag[SETTING_TEXT_MAX];

    setting_spell(i, SPELLING_FLAG, flag);
    buf_addf(out, setting->type == SETTING_BOOL ? "  %s[=%s]\n" : "  %s %s\n", flag,
             setting->value);
    add_wrapped(out, setting->help);
    buf_addf(out, "%*sDefault: %s", HELP_INDENT, "",
             setting->initial ? setting->initial : setting->initial_help);
    if (setting->max > 0)
        buf_addf(out, " (%" PRIu64 " to %" PRIu64 ")", setting->min / unit,
                 setting->max / unit);
    buf_add_str(out, ".\n");
}

void config_help(struct buf *out)
{
    buf_add_str(out,
                "Usage: poold serve [SETTING]...\n"
                "\n"
                "Every setting has one name in three spellings:\n"
                "\n"
                "  --max-items 1000         a flag; --max-items=1000 is the same\n"
                "  POOLD_MAX_ITEMS=1000     in the environment\n"
                "  {\"max_items\": 1000}      in the JSON file that --config names\n"
                "\n"
                "A flag beats the environment, the environment beats the file. Unknown\n"
                "names are refused in all three. Seconds may have a fraction (0.25).\n");
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (settings[i].group)
            buf_addf(out, "\n%s\n\n", settings[i].group);
        add_setting(out, i);
    }
}
