/* SPDX-License-Identifier: MIT */
/*
 * Every value, wherever it comes from, becomes text and passes through assign(), so that
 * the three spellings of a setting cannot differ in what they accept.
 *
 * Flags are parsed here and not by getopt_long: it accepts abbreviations, which would
 * turn a new setting into an error in somebody's old command line, and it knows no "did
 * you mean".
 */
#include "server/config.h"

#include "common/fault.h"
#include "common/mem.h"
#include "server/address.h"
#include "server/disk.h"
#include "server/key_file.h"
#include "server/setting.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_FILE_MAX (1u << 20) /* bytes */
#define ORIGIN_MAX      160        /* bytes of its text, with the NUL */

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

/* Choices are stored as unsigned int, which is what compilers take for such an enum. */
static_assert(sizeof(enum store_kind) == sizeof(unsigned) &&
                  sizeof(enum sandbox_mode) == sizeof(unsigned) &&
                  sizeof(enum log_level) == sizeof(unsigned) &&
                  sizeof(enum log_format) == sizeof(unsigned),
              "enums are as large as unsigned");

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };

struct origin {
    enum source source;
    size_t line; /* in the file; 0: not known */
};

struct loader {
    struct config config;
    const char *file;                       /* path of the configuration file, or NULL */
    const char *environment[SETTING_COUNT]; /* values as given, or NULL */
    const char *flags[SETTING_COUNT];
    struct buf lists[SETTING_COUNT]; /* what flags of lists add up to */
    struct origin origins[SETTING_COUNT];
    struct error_text *err;
};

/* ---- complaints ---- */

static enum status no_memory(const struct loader *loader)
{
    return error_set(loader->err, ST_NO_MEMORY, "out of memory");
}

static enum status unknown_setting(const struct loader *loader, const char *text,
                                   size_t len, enum spelling spelling)
{
    size_t guess = setting_guess(text, len, spelling);
    char name[SETTING_TEXT_MAX], hint[SETTING_TEXT_MAX + 32] = "", where[128] = "";

    if (guess < SETTING_COUNT) {
        setting_spell(guess, spelling, name);
        snprintf(hint, sizeof(hint), " (did you mean %s?)", name);
    }
    if (spelling == SPELLING_NAME)
        snprintf(where, sizeof(where), " in %.100s", loader->file);
    return error_set(loader->err, ST_INVALID, "unknown setting \"%.*s\"%s%s",
                     len < 80 ? (int)len : 80, text, where, hint);
}

/* Where the value of setting i came from, for error texts. */
static const char *origin_text(const struct loader *loader, size_t i,
                               char ret_text[ORIGIN_MAX])
{
    const struct origin *origin = &loader->origins[i];

    switch (origin->source) {
    case FROM_FLAG:
        setting_spell(i, SPELLING_FLAG, ret_text);
        break;
    case FROM_ENVIRONMENT:
        setting_spell(i, SPELLING_ENVIRONMENT, ret_text);
        break;
    case FROM_FILE:
        if (origin->line)
            snprintf(ret_text, ORIGIN_MAX, "%.120s line %zu", loader->file, origin->line);
        else
            snprintf(ret_text, ORIGIN_MAX, "%.120s", loader->file);
        break;
    case FROM_DEFAULT:
        snprintf(ret_text, ORIGIN_MAX, "the default");
        break;
    }
    return ret_text;
}

static enum status refuse(const struct loader *loader, size_t i, const char *value,
                          const char *reason)
{
    char from[ORIGIN_MAX];

    return error_set(loader->err, ST_INVALID, "setting %s (from %s): \"%.80s\" %s",
                     settings[i].name, origin_text(loader, i, from), value, reason);
}

/* ---- values ---- */

/* Reads digits and moves *text behind them. false: no digit, or too large. */
static bool parse_digits(const char **text, uint64_t *ret_n)
{
    const char *c = *text;
    uint64_t n = 0;

    for (; *c >= '0' && *c <= '9'; c++) {
        unsigned digit = (unsigned)(*c - '0');

        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (c == *text)
        return false;
    *text = c;
    *ret_n = n;
    return true;
}

static bool all_digits(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

static enum status assign_number(struct loader *loader, size_t i, const char *value)
{
    const struct setting *setting = &settings[i];
    const char *rest = value;
    char reason[96];
    uint64_t n;

    if (!all_digits(value))
        return refuse(loader, i, value, "is not a whole number");
    if (!parse_digits(&rest, &n) || n < setting->min || n > setting->max) {
        snprintf(reason, sizeof(reason), "is not in %" PRIu64 "..%" PRIu64, setting->min,
                 setting->max);
        return refuse(loader, i, value, reason);
    }
    memcpy((char *)&loader->config + setting->offset, &n, sizeof(n));
    return ST_OK;
}

/* "1.5" to 1500. Finer than a millisecond is refused, so that a tiny limit never becomes
 * 0, which may mean "none". */
static bool parse_seconds(const char *value, uint64_t *ret_ms)
{
    uint64_t whole, ms = 0;

    if (!parse_digits(&value, &whole) || whole > UINT64_MAX / MS_PER_S - 1)
        return false;
    if (*value == '.') {
        value++;
        if (!all_digits(value))
            return false;
        for (uint64_t unit = MS_PER_S / 10; *value; value++, unit /= 10) {
            if (unit == 0 && *value != '0')
                return false;
            ms += (uint64_t)(*value - '0') * unit;
        }
    }
    *ret_ms = whole * MS_PER_S + ms;
    return *value == '\0';
}

static enum status assign_seconds(struct loader *loader, size_t i, const char *value)
{
    const struct setting *setting = &settings[i];
    char reason[96];
    uint64_t ms;
    int64_t stored;

    if (!parse_seconds(value, &ms))
        return refuse(loader, i, value,
                      "is not a number of seconds such as 1.5 "
                      "(at most 3 decimal places)");
    if (ms < setting->min || ms > setting->max) {
        snprintf(reason, sizeof(reason), "is not in %" PRIu64 "..%" PRIu64 " seconds",
                 setting->min / MS_PER_S, setting->max / MS_PER_S);
        return refuse(loader, i, value, reason);
    }
    stored = (int64_t)ms;
    memcpy((char *)&loader->config + setting->offset, &stored, sizeof(stored));
    return ST_OK;
}

static enum status assign_choice(struct loader *loader, size_t i, const char *value)
{
    const struct setting *setting = &settings[i];
    char reason[96];

    for (unsigned choice = 0; choice < setting->choice_count; choice++) {
        if (strcmp(setting->choices[choice], value) == 0) {
            memcpy((char *)&loader->config + setting->offset, &choice, sizeof(choice));
            return ST_OK;
        }
    }
    snprintf(reason, sizeof(reason), "is not one of %s", setting->value);
    return refuse(loader, i, value, reason);
}

static enum status assign_bool(struct loader *loader, size_t i, const char *value)
{
    bool yes = strcmp(value, "true") == 0;

    if (!yes && strcmp(value, "false") != 0)
        return refuse(loader, i, value, "is not one of true|false");
    memcpy((char *)&loader->config + settings[i].offset, &yes, sizeof(yes));
    return ST_OK;
}

static enum status assign_text(struct loader *loader, size_t i, const char *value)
{
    char *copy, *old;
    char *member = (char *)&loader->config + settings[i].offset;

    if (!*value)
        return refuse(loader, i, value, "is empty");
    copy = mem_strdup(value);
    if (!copy)
        return no_memory(loader);
    memcpy(&old, member, sizeof(old));
    mem_free(old);
    memcpy(member, &copy, sizeof(copy));
    return ST_OK;
}

static enum status assign_list(struct loader *loader, size_t i, const char *value)
{
    const char *reason = settings[i].check ? settings[i].check(value) : NULL;

    return reason ? refuse(loader, i, value, reason) : assign_text(loader, i, value);
}

static enum status assign_address(struct loader *loader, size_t i, const char *value)
{
    struct address address;
    const char *reason = address_parse(value, &address);
    char *host;
    enum status st;

    if (reason)
        return refuse(loader, i, value, reason);
    st = assign_text(loader, i, value);
    if (st != ST_OK)
        return st;
    host = mem_strdup(address.host);
    if (!host)
        return no_memory(loader);
    if (i == SETTING_LISTEN) {
        mem_free(loader->config.listen_host);
        loader->config.listen_host = host;
        loader->config.listen_port = address.port;
    } else {
        mem_free(loader->config.admin_host);
        loader->config.admin_host = host;
        loader->config.admin_port = address.port;
    }
    return ST_OK;
}

/* Makes the text `value` the value of setting i; origins[i] says where it is from. */
static enum status assign(struct loader *loader, size_t i, const char *value)
{
    static enum status (*const by_type[])(struct loader *, size_t, const char *) = {
        [SETTING_TEXT] = assign_text,       [SETTING_LIST] = assign_list,
        [SETTING_ADDRESS] = assign_address, [SETTING_BOOL] = assign_bool,
        [SETTING_CHOICE] = assign_choice,   [SETTING_NUMBER] = assign_number,
        [SETTING_SECONDS] = assign_seconds,
    };

    assert(i != SETTING_CONFIG);
    return by_type[settings[i].type](loader, i, value);
}

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

static enum status assign_defaults(struct loader *loader)
{
    enum status st = ST_OK;

    loader->config.processes = usable_cpus();
    loader->config.disk_high = loader->config.disk_low = DISK_AUTO;
    for (size_t i = 0; i < SETTING_COUNT && st == ST_OK; i++) {
        if (settings[i].initial)
            st = assign(loader, i, settings[i].initial);
    }
    return st;
}

static enum status read_file(struct loader *loader, struct buf *ret_text)
{
    FILE *file = fopen(loader->file, "re");
    size_t got = 0;
    int error = 0;

    if (!file)
        return error_set(loader->err, ST_INVALID,
                         "cannot open the configuration file %s: %s", loader->file,
                         strerror(errno));
    do {
        if (!buf_reserve(ret_text, BUFSIZ))
            break;
        got = fread(ret_text->data + ret_text->len, 1, BUFSIZ, file);
        ret_text->len += got;
    } while (got > 0 && ret_text->len <= CONFIG_FILE_MAX);
    if (ferror(file))
        error = errno;
    fclose(file);
    if (ret_text->failed)
        return no_memory(loader);
    if (error)
        return error_set(loader->err, ST_INVALID,
                         "cannot read the configuration file %s: %s", loader->file,
                         strerror(error));
    if (ret_text->len > CONFIG_FILE_MAX)
        return error_set(loader->err, ST_INVALID,
                         "the configuration file %s is larger than %u bytes",
                         loader->file, CONFIG_FILE_MAX);
    return ST_OK;
}

/* The line of member `name`, for error texts; 0 if it is spelled with escapes. In a
 * string a quote is escaped, so the quoted name can only be a whole string; a colon makes
 * it a member. */
static size_t member_line(struct text doc, const char *name)
{
    char quoted[SETTING_TEXT_MAX];
    size_t line = 1, len;

    len = (size_t)snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    for (size_t i = 0; i + len < doc.len; i++) {
        line += doc.at[i] == '\n';
        if (memcmp(doc.at + i, quoted, len) == 0) {
            size_t after = i + len;

            while (after < doc.len && strchr(" \t\r\n", doc.at[after]))
                after++;
            if (after < doc.len && doc.at[after] == ':')
                return line;
        }
    }
    return 0;
}

/* NULL when a JSON value is of the type that the setting wants, else the complaint. */
static const char *wrong_type(enum setting_type type, const json_t *value)
{
    switch (type) {
    case SETTING_BOOL:
        return json_is_boolean(value) ? NULL : "is not true or false";
    case SETTING_NUMBER:
        return json_is_integer(value) ? NULL : "is not a whole number";
    case SETTING_SECONDS:
        return json_is_number(value) ? NULL : "is not a number of seconds";
    case SETTING_LIST:
        return json_is_array(value) ? NULL : "is not an array of strings";
    default:
        return json_is_string(value) ? NULL : "is not a string";
    }
}

static int add_bytes(const char *bytes, size_t len, void *out)
{
    buf_add(out, bytes, len);
    return 0;
}

/* An array of strings, joined by commas. */
static enum status assign_array(struct loader *loader, size_t i, const json_t *value)
{
    struct buf text = BUF_INIT;
    enum status st = ST_OK;
    json_t *element;
    size_t at;

    json_array_foreach(value, at, element)
    {
        if (!json_is_string(element))
            st = refuse(loader, i, "", "is not an array of strings");
        else
            buf_addf(&text, "%s%s", at ? "," : "", json_string_value(element));
    }
    if (st == ST_OK && text.failed)
        st = no_memory(loader);
    if (st == ST_OK && text.len)
        st = assign(loader, i, text.data);
    buf_clear(&text);
    return st;
}

static enum status assign_member(struct loader *loader, size_t i, const json_t *value)
{
    const char *complaint = wrong_type(settings[i].type, value);
    struct buf text = BUF_INIT;
    enum status st;

    if (settings[i].type == SETTING_LIST && !complaint)
        return assign_array(loader, i, value);
    if (json_is_string(value) && !complaint)
        return assign(loader, i, json_string_value(value));
    json_dump_callback(value, add_bytes, &text,
                       JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (text.failed)
        st = no_memory(loader);
    else if (complaint)
        st = refuse(loader, i, text.data, complaint);
    else
        st = assign(loader, i, text.data);
    buf_clear(&text);
    return st;
}

static enum status assign_object(struct loader *loader, struct text doc, json_t *root)
{
    const char *name;
    json_t *value;

    json_object_foreach(root, name, value)
    {
        size_t i = setting_find(name, strlen(name), SPELLING_NAME);
        enum status st;

        if (i == SETTING_COUNT)
            return unknown_setting(loader, name, strlen(name), SPELLING_NAME);
        if (i == SETTING_CONFIG)
            return error_set(loader->err, ST_INVALID,
                             "setting config is not for the file %s itself",
                             loader->file);
        loader->origins[i].source = FROM_FILE;
        loader->origins[i].line = member_line(doc, name);
        st = assign_member(loader, i, value);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static enum status assign_file(struct loader *loader)
{
    struct buf text = BUF_INIT;
    json_t *root = NULL;
    json_error_t error;
    enum status st = read_file(loader, &text);

    if (st != ST_OK)
        goto out;
    root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        st = error_set(loader->err, ST_INVALID, "%s line %d column %d: %s", loader->file,
                       error.line, error.column, error.text);
    else if (!json_is_object(root))
        st = error_set(loader->err, ST_INVALID, "%s: the settings must be a JSON object",
                       loader->file);
    else
        st = assign_object(loader, buf_text(&text), root);
out:
    json_decref(root);
    buf_clear(&text);
    return st;
}

/* Flags of a list add up. */
static enum status note_flag(struct loader *loader, size_t i, const char *value)
{
    struct buf *list = &loader->lists[i];

    if (settings[i].type != SETTING_LIST) {
        loader->flags[i] = value;
        return ST_OK;
    }
    buf_addf(list, "%s%s", list->len ? "," : "", value);
    loader->flags[i] = list->data;
    return list->failed ? no_memory(loader) : ST_OK;
}

/* In a pod beside a Kubernetes service named poold, these are set for every container. */
static bool set_by_kubernetes(const char *variable)
{
    return strncmp(variable, "POOLD_SERVICE_", 14) == 0 ||
           strncmp(variable, "POOLD_PORT_", 11) == 0 ||
           strncmp(variable, "POOLD_PORT=tcp://", 17) == 0;
}

static enum status read_environment(struct loader *loader, char **environ_vars)
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
            return unknown_setting(loader, *environ_vars, len, SPELLING_ENVIRONMENT);
        loader->environment[i] = equals + 1;
    }
    return ST_OK;
}

static enum status read_flags(struct loader *loader, int argc, char **argv)
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
            return unknown_setting(loader, flag, len, SPELLING_FLAG);
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
static enum status assign_all(struct loader *loader,
                              const char *const values[SETTING_COUNT], enum source source)
{
    enum status st = ST_OK;

    for (size_t i = SETTING_CONFIG + 1; i < SETTING_COUNT && st == ST_OK; i++) {
        if (!values[i])
            continue;
        loader->origins[i].source = source;
        st = assign(loader, i, values[i]);
    }
    return st;
}

static enum status check_addresses(struct loader *loader)
{
    const struct config *config = &loader->config;
    bool first = !address_is_loopback(config->listen_host);

    if (config->insecure ||
        (!first && (!config->admin_host || address_is_loopback(config->admin_host))) ||
        key_file_exists(config->data))
        return ST_OK;
    return refuse(
        loader, first ? SETTING_LISTEN : SETTING_ADMIN_LISTEN,
        first ? config->listen : config->admin_listen,
        "is not a loopback address, and without API keys everyone who reaches the "
        "port can run tasks: make one with `poold key new --data DIR --name NAME "
        "--scopes submit,read`, or use --insecure only behind something that "
        "authenticates");
}

/* What no single value shows. */
static enum status check_together(struct loader *loader)
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
    struct loader loader = { .err = err };
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
        st = assign_file(&loader);
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
