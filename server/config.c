/* SPDX-License-Identifier: MIT */
/*
 * Settings from the environment and from flags, and all sources one over the other.
 *
 * Flags are parsed here and not by getopt_long: it accepts abbreviations, which would
 * turn a new setting into an error in somebody's old command line, and it knows no "did
 * you mean".
 */
#include "server/config_private.h"

#include "common/fault.h"
#include "common/mem.h"
#include "server/address.h"
#include "server/disk.h"
#include "server/key_file.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

const char *const store_kind_names[STORE_KIND_COUNT] = {
    [STORE_SQLITE] = "sqlite",
    [STORE_MEMORY] = "memory",
};

const char *const access_log_mode_names[ACCESS_LOG_MODE_COUNT] = { "off", "errors",
                                                                   "all" };
const char *const sandbox_mode_names[SANDBOX_MODE_COUNT] = {
    [SANDBOX_AUTO] = "auto",
    [SANDBOX_OFF] = "off",
};

/* ---- sources, from the weakest to the strongest ---- */

static uint64_t usable_cpus(void)
{
    cpu_set_t set;
    long online;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (uint64_t)CPU_COUNT(&set);
    online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t holds */
    return online < 1 ? 1 : online > PROCESSES_MAX ? PROCESSES_MAX : (uint64_t)online;
}

static enum status assign_defaults(struct config_loader *loader)
{
    enum status st = ST_OK;

    loader->config.processes = usable_cpus();
    loader->config.disk_high = loader->config.disk_low = DISK_AUTO;
    for (size_t i = 0; i < SETTING_COUNT && st == ST_OK; i++) {
        if (settings[i].initial)
            st = config_assign(loader, i, settings[i].initial);
    }
    return st;
}

/* Flags of a list add up. */
static enum status note_flag(struct config_loader *loader, size_t i, const char *value)
{
    struct buf *list = &loader->lists[i];

    if (settings[i].type != SETTING_LIST) {
        loader->flags[i] = value;
        return ST_OK;
    }
    buf_addf(list, "%s%s", list->len ? "," : "", value);
    loader->flags[i] = list->data;
    return list->failed ? config_no_memory(loader) : ST_OK;
}

/* In a pod beside a Kubernetes service named poold, these are set for every container. */
static bool set_by_kubernetes(const char *variable)
{
    return strncmp(variable, "POOLD_SERVICE_", 14) == 0 ||
           strncmp(variable, "POOLD_PORT_", 11) == 0 ||
           strncmp(variable, "POOLD_PORT=tcp://", 17) == 0;
}

static enum status read_environment(struct config_loader *loader, char **environ_vars)
{
    for (; *environ_vars; environ_vars++) {
        const char *equals = strchr(*environ_vars, '=');
        size_t i, len = equals ? (size_t)(equals - *environ_vars) : 0;

        if (!equals || strncmp(*environ_vars, "POOLD_", strlen("POOLD_")) != 0)
            continue;
        if (set_by_kubernetes(*environ_vars) || fault_is_variable(*environ_vars))
            continue;
        i = setting_find(*environ_vars, len, SPELLING_ENVIRONMENT);
        if (i == SETTING_COUNT)
            return config_unknown(loader, *environ_vars, len, SPELLING_ENVIRONMENT);
        loader->environment[i] = equals + 1;
    }
    return ST_OK;
}

static enum status read_flags(struct config_loader *loader, int argc, char **argv)
{
    for (int at = 0; at < argc; at++) {
        const char *flag = argv[at], *equals = strchr(flag, '=');
        size_t len = equals ? (size_t)(equals - flag) : strlen(flag);
        const char *next = at + 1 < argc && argv[at + 1][0] != '-' ? argv[at + 1] : NULL;
        size_t i = setting_find(flag, len, SPELLING_FLAG);

        if (flag[0] != '-')
            return error_set(loader->err, ST_INVALID,
                             "unexpected argument \"%.80s\": settings start with --",
                             flag);
        if (i == SETTING_COUNT)
            return config_unknown(loader, flag, len, SPELLING_FLAG);
        if (!equals && settings[i].type == SETTING_BOOL) {
            next = "true"; /* alone; a value only behind '=' */
        } else if (equals) {
            next = equals + 1;
        } else if (next) {
            at++;
        } else {
            return error_set(loader->err, ST_INVALID, "%s needs a value: %s", flag,
                             settings[i].value);
        }
        if (note_flag(loader, i, next) != ST_OK)
            return ST_NO_MEMORY;
    }
    return ST_OK;
}

/* environment or flags */
static enum status assign_all(struct config_loader *loader,
                              const char *const values[SETTING_COUNT],
                              enum config_source source)
{
    enum status st = ST_OK;

    for (size_t i = SETTING_CONFIG + 1; i < SETTING_COUNT && st == ST_OK; i++) {
        if (!values[i])
            continue;
        loader->origins[i].source = source;
        st = config_assign(loader, i, values[i]);
    }
    return st;
}

static enum status check_addresses(struct config_loader *loader)
{
    const struct config *config = &loader->config;
    bool first = !address_is_loopback(config->listen_host);

    if (config->insecure ||
        (!first && (!config->admin_host || address_is_loopback(config->admin_host))) ||
        key_file_exists(config->data))
        return ST_OK;
    return config_refuse(
        loader, first ? SETTING_LISTEN : SETTING_ADMIN_LISTEN,
        first ? config->listen : config->admin_listen,
        "is not a loopback address, and without API keys everyone who reaches the "
        "port can run tasks: make one with `poold key new --data DIR --name NAME "
        "--scopes submit,read`, or use --insecure only behind something that "
        "authenticates");
}

/* What no single value shows. */
static enum status check_together(struct config_loader *loader)
{
    const struct config *config = &loader->config;

    if (config->callback_allow && !config->callback_secret_file &&
        config->store == STORE_MEMORY)
        return error_set(loader->err, ST_INVALID,
                         "setting callback_allow with store memory, which keeps nothing, "
                         "needs callback_secret_file as well");
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        if (config->limits.at[i] && config->limits.at[i] < limit_kinds[i].min)
            return error_set(loader->err, ST_INVALID,
                             "setting %s: %llu is less than %llu, and not 0 for no limit",
                             limit_kinds[i].name,
                             (unsigned long long)config->limits.at[i],
                             (unsigned long long)limit_kinds[i].min);
    if (config->disk_low != DISK_AUTO && config->disk_low > config->disk_high)
        return error_set(loader->err, ST_INVALID,
                         "setting disk_low: %llu is more than disk_high, %llu",
                         (unsigned long long)config->disk_low,
                         (unsigned long long)config->disk_high);
    if (!config->tls_cert != !config->tls_key)
        return error_set(loader->err, ST_INVALID, "setting %s needs %s as well",
                         config->tls_cert ? "tls_cert" : "tls_key",
                         config->tls_cert ? "tls_key" : "tls_cert");
    return check_addresses(loader);
}

/* ---- use ---- */

static bool help_wanted(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

enum status config_load(int argc, char **argv, char **environ_vars,
                        struct config *ret_config, enum config_action *ret_action,
                        struct error_text *err)
{
    struct config_loader loader = { .err = err };
    enum status st;

    memset(ret_config, 0, sizeof(*ret_config));
    *ret_action = help_wanted(argc, argv) ? CONFIG_HELP : CONFIG_RUN;
    if (*ret_action == CONFIG_HELP)
        return ST_OK;

    st = read_flags(&loader, argc, argv);
    if (st == ST_OK)
        st = read_environment(&loader, environ_vars);
    loader.file = loader.flags[SETTING_CONFIG] ? loader.flags[SETTING_CONFIG]
                                               : loader.environment[SETTING_CONFIG];
    if (st == ST_OK)
        st = assign_defaults(&loader);
    if (st == ST_OK && loader.file)
        st = config_assign_file(&loader);
    if (st == ST_OK)
        st = assign_all(&loader, loader.environment, FROM_ENVIRONMENT);
    if (st == ST_OK)
        st = assign_all(&loader, loader.flags, FROM_FLAG);
    if (st == ST_OK)
        st = check_together(&loader);
    if (st == ST_OK)
        *ret_config = loader.config;
    else
        config_clear(&loader.config);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        buf_clear(&loader.lists[i]);
    return st;
}

void config_clear(struct config *config)
{
    if (!config)
        return;
    mem_free(config->listen);
    mem_free(config->listen_host);
    mem_free(config->allowed_hosts);
    mem_free(config->admin_host);
    mem_free(config->admin_listen);
    mem_free(config->tls_cert);
    mem_free(config->tls_key);
    mem_free(config->data);
    mem_free(config->backup_dir);
    mem_free(config->tasks);
    mem_free(config->python);
    mem_free(config->python_modules);
    mem_free(config->scratch_dir);
    mem_free(config->task_write);
    mem_free(config->task_user);
    mem_free(config->cgroup);
    mem_free(config->callback_allow);
    mem_free(config->callback_secret_file);
    mem_free(config->callback_ca_file);
    memset(config, 0, sizeof(*config));
}
