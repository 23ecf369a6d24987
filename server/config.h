/* SPDX-License-Identifier: MIT */
/*
 * config - the settings of `poold serve`: defaults, file, environment, flags, in rising
 * order.
 *
 * Every setting has one name in three spellings: --max-body-bytes, POOLD_MAX_BODY_BYTES
 * and "max_body_bytes" in the JSON file. Everything is checked before anything starts; an
 * error names the setting, where it came from, its value and the reason. The one list of
 * settings is the table in setting.c.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "common/buf.h"
#include "common/log.h"
#include "common/status.h"
#include "workers/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum sandbox_mode { SANDBOX_AUTO, SANDBOX_OFF, SANDBOX_MODE_COUNT };
extern const char *const sandbox_mode_names[SANDBOX_MODE_COUNT];

/* Which requests have a line in the log. */
enum access_log_mode {
    ACCESS_LOG_OFF,
    ACCESS_LOG_ERRORS, /* answers of 400 and above, and requests without an answer */
    ACCESS_LOG_ALL,
    ACCESS_LOG_MODE_COUNT
};
extern const char *const access_log_mode_names[ACCESS_LOG_MODE_COUNT];

enum store_kind { STORE_SQLITE, STORE_MEMORY, STORE_KIND_COUNT };
extern const char *const store_kind_names[STORE_KIND_COUNT];

struct config {
    /* Names are the settings' names; strings are owned. */
    char *listen;      /* HOST:PORT as given; port 0: any free one */
    char *listen_host; /* from listen: numeric, IPv6 without brackets; localhost is
                          127.0.0.1 */
    uint16_t listen_port;
    char *admin_listen; /* the same for administrators, or NULL */
    char *admin_host;
    uint16_t admin_port;
    char *tls_cert, *tls_key; /* files; both or none */
    bool insecure; /* allow an address other than loopback although there are no keys */
    char *allowed_hosts; /* separated by commas; NULL: see api_admit.c */
    char *data;          /* directory */
    enum store_kind store;
    char *backup_dir;             /* NULL: no backups over HTTP */
    uint64_t disk_high, disk_low; /* bytes, see server/disk.h; 0: never reached */
    char *tasks;                  /* folders, separated by commas; NULL: none */
    int64_t probe_timeout_ms;     /* how long one file of them may take to be looked at */
    char *python;                 /* interpreter */
    char *python_modules;         /* names, separated by commas; NULL: none */
    enum sandbox_mode sandbox;
    char *scratch_dir;       /* NULL: $TMPDIR, or /tmp */
    char *task_write;        /* folders, separated by commas; NULL: any */
    char *cgroup;            /* auto, off or a path: see cgroup_open */
    char *task_user;         /* see confine_user; NULL: the server's */
    uint64_t max_worker_rss; /* bytes; 0: any */
    uint64_t processes; /* workers of the default pool; default: number of CPUs usable */
    enum log_level log_level;
    enum log_format log_format;
    enum access_log_mode access_log;

    uint64_t max_body_bytes; /* of one request */
    uint64_t max_uri_bytes;  /* of its target */
    uint64_t max_headers;
    uint64_t max_header_bytes; /* of one's value */
    uint64_t max_items;        /* of one job */
    uint64_t max_item_bytes;
    uint64_t max_json_depth;        /* of what clients send, the outermost counts 1 */
    uint64_t max_result_bytes;      /* of one item */
    uint64_t max_job_result_bytes;  /* the same of all of a job that are in memory */
    uint64_t max_log_bytes;         /* of one job */
    uint64_t max_attempt_log_bytes; /* of what is printed until an outcome comes */
    uint64_t max_batch_jobs;
    uint64_t max_queued_jobs;    /* jobs that are not over, in all */
    uint64_t max_queued_bytes;   /* of their inputs */
    uint64_t queue_window;       /* jobs of a pool that wait and are whole in memory */
    uint64_t queue_window_bytes; /* of their inputs */
    uint64_t max_processes;      /* workers of all pools together */
    uint64_t max_connections;
    uint64_t max_key_requests;    /* requests with the same key */
    uint64_t max_waiters;         /* requests that wait for a job */
    int64_t max_wait_ms;          /* setting max_wait, in seconds */
    uint64_t max_bodies_bytes;    /* of those that are not complete */
    int64_t idle_timeout_ms;      /* of a connection */
    int64_t header_timeout_ms;    /* how long headers may take */
    int64_t body_timeout_ms;      /* and how long a body */
    int64_t answer_timeout_ms;    /* and 64 KiB of an answer */
    int64_t drain_timeout_ms;     /* how long SIGTERM lets running items finish */
    int64_t cancel_grace_ms;      /* for tasks that ask whether they are cancelled */
    int64_t time_limit_ms;        /* default per item; 0: none */
    struct limits limits;         /* of pools that do not say */
    uint64_t max_tasks_per_child; /* chunks, of such pools; 0: any number */
    uint64_t crash_retries;       /* default per item */

    int64_t result_ttl_ms;       /* default per job */
    int64_t job_ttl_ms;          /* how long a job is known after its end */
    uint64_t max_finished_jobs;  /* of durability memory, and in the store */
    uint64_t max_finished_bytes; /* the same; 0: any number */

    char *callback_allow;       /* see server/webhook.h; NULL: no callbacks */
    char *callback_secret_file; /* NULL: one in `data` */
    char *callback_ca_file;     /* NULL: those of the system */
    int64_t callback_timeout_ms;
    int64_t callback_backoff_ms; /* the first pause; the others are in proportion */
};

enum config_action { CONFIG_RUN, CONFIG_HELP };

/* Reads the settings for `poold serve ARGS`: argv[0] is the first argument after "serve".
 * environ_vars as in environ(7); variables that Kubernetes sets for a service named poold
 * are no settings. CONFIG_HELP for --help (nothing else is checked then). Failures, with
 * err set and *ret_config all zero: ST_INVALID, ST_NO_MEMORY. */
NODISCARD enum status config_load(int argc, char **argv, char **environ_vars,
                                  struct config *ret_config,
                                  enum config_action *ret_action, struct error_text *err);
void config_clear(struct config *config);
/* The help text of `poold serve --help`: every setting with unit, range, default and
 * meaning. In setting.c, beside the table. */
void config_help(struct buf *out);

#endif
