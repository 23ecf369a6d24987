/* SPDX-License-Identifier: MIT */
#include "workers/program_manifest.h"

#include "common/mem.h"
#include "workers/task.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"
#define SIZE_LIMIT   ((double)(1ull << 53)) /* the largest limit in bytes */

static const char *const mode_names[PROGRAM_MODE_COUNT] = {
    [PROGRAM_PERSISTENT] = "persistent",
    [PROGRAM_ONESHOT] = "oneshot",
};

static const struct {
    const char *name;
    double min, max;
    bool fraction; /* need not be a whole number */
    bool is_ms;    /* given in seconds, kept in milliseconds */
    bool only;     /* for one mode only */
    enum program_mode mode;
} limit_infos[PROGRAM_LIMIT_COUNT] = {
    [PROGRAM_TIME] = { .name = "time",
                       .min = 0.001,
                       .max = 2592000,
                       .fraction = true,
                       .is_ms = true },
    [PROGRAM_CPU] = { .name = "cpu", .min = 1, .max = 2592000 },
    [PROGRAM_MEMORY] = { .name = "memory", .min = 1 << 20, .max = SIZE_LIMIT },
    [PROGRAM_FILE_SIZE] = { .name = "file_size", .min = 1, .max = SIZE_LIMIT },
    [PROGRAM_OPEN_FILES] = { .name = "open_files", .min = 4, .max = 1048576 },
    [PROGRAM_LINE] = { .name = "line",
                       .min = 64,
                       .max = PROGRAM_LINE_MAX,
                       .only = true,
                       .mode = PROGRAM_PERSISTENT },
};

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- finding the program ----------------------------------------------------------- */

/* NULL: it can be executed. */
static const char *reason_not_to_run(const char *path)
{
    struct stat info;

    if (stat(path, &info) == -1)
        return errno == ENOENT ? "there is no such file" : strerror(errno);
    if (!S_ISREG(info.st_mode))
        return "it is no regular file";
    if (access(path, X_OK) == -1)
        return errno == EACCES ? "it is not executable; use: chmod +x" : strerror(errno);
    return NULL;
}

/* The first of PATH that can be executed; NULL: none, or no memory. Freed by the caller
 * with free(3), as the other one. */
static char *find_in_path(const char *name)
{
    const char *path = getenv("PATH");

    if (!path || !path[0])
        path = PATH_DEFAULT;
    for (const char *end; *path; path = *end ? end + 1 : end) {
        char *candidate;

        end = strchrnul(path, ':');
        if (*path != '/') /* relative to wherever the server was started: not looked at */
            continue;
        if (asprintf(&candidate, "%.*s/%s", (int)(end - path), path, name) == -1)
            return NULL;
        if (!reason_not_to_run(candidate))
            return candidate;
        free(candidate);
    }
    return NULL;
}

static enum status find_program(const char *name, const char *folder, char **ret_file,
                                struct error_text *err)
{
    const char *reason;
    char *file = NULL;

    if (!strchr(name, '/')) {
        *ret_file = find_in_path(name);
        return *ret_file ? ST_OK
                         : error_set(err, ST_INVALID,
                                     "/command/0: there is no program %s in PATH", name);
    }
    if (name[0] == '/')
        file = strdup(name);
    else if (asprintf(&file, "%s/%s", folder, name) == -1)
        file = NULL;
    if (!file)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    reason = reason_not_to_run(file);
    if (!reason) {
        *ret_file = file;
        return ST_OK;
    }
    (void)error_set(err, ST_INVALID, "/command/0: %s: %s", file, reason);
    free(file);
    return ST_INVALID;
}

/* ---- checking ---------------------------------------------------------------------- */

static enum status check_name(const json_t *name, struct error_text *err)
{
    struct text text = { json_string_value(name), json_string_length(name) };

    if (!json_is_string(name) || !task_name_valid(text))
        return error_set(err, ST_INVALID,
                         "/name: is not a task's name: a letter or _, then up to 127 of "
                         "A-Z a-z 0-9 _ . : -");
    return ST_OK;
}

static enum status check_text(const json_t *text, const char *pointer,
                              struct error_text *err)
{
    if (text && !json_is_string(text))
        return error_set(err, ST_INVALID, "%s: is not a string", pointer);
    return ST_OK;
}

static enum status check_command(const json_t *command, struct error_text *err)
{
    const json_t *arg;
    size_t i;

    if (!json_is_array(command) || json_array_size(command) == 0 ||
        json_array_size(command) > PROGRAM_ARGS_MAX)
        return error_set(err, ST_INVALID, "/command: is not an array of 1 to %d strings",
                         PROGRAM_ARGS_MAX);
    json_array_foreach(command, i, arg)
    {
        if (!json_is_string(arg))
            return error_set(err, ST_INVALID, "/command/%zu: is not a string", i);
    }
    if (json_string_length(json_array_get(command, 0)) == 0)
        return error_set(err, ST_INVALID, "/command/0: is empty");
    return ST_OK;
}

static bool read_mode(const json_t *json, enum program_mode *ret_mode)
{
    for (unsigned i = 0; json_is_string(json) && i < PROGRAM_MODE_COUNT; i++) {
        if (strcmp(json_string_value(json), mode_names[i]) == 0) {
            *ret_mode = (enum program_mode)i;
            return true;
        }
    }
    return false;
}

static enum status check_mode(const json_t *json, enum program_mode *ret_mode,
                              struct error_text *err)
{
    return read_mode(json, ret_mode)
               ? ST_OK
               : error_set(err, ST_INVALID, "/mode: is not persistent or oneshot");
}

static enum status check_env(const json_t *env, struct error_text *err)
{
    const json_t *value;
    const char *name;

    if (!env)
        return ST_OK;
    if (!json_is_object(env) || json_object_size(env) > PROGRAM_ENV_MAX)
        return error_set(err, ST_INVALID, "/env: is not an object of up to %d strings",
                         PROGRAM_ENV_MAX);
    json_object_foreach((json_t *)(uintptr_t)env, name, value)
    {
        if (!name[0] || strchr(name, '='))
            return error_set(err, ST_INVALID, "/env/%s: is no name of a variable", name);
        if (!json_is_string(value))
            return error_set(err, ST_INVALID, "/env/%s: is not a string", name);
    }
    return ST_OK;
}

static enum status check_limit(const char *name, const json_t *value,
                               enum program_mode mode, struct error_text *err)
{
    unsigned i = 0;
    double n = json_number_value(value);

    while (i < PROGRAM_LIMIT_COUNT && strcmp(name, limit_infos[i].name) != 0)
        i++;
    if (i == PROGRAM_LIMIT_COUNT)
        return error_set(err, ST_INVALID, "/limits/%s: is not a limit", name);
    if (limit_infos[i].only && mode != limit_infos[i].mode)
        return error_set(err, ST_INVALID, "/limits/%s: is for the mode %s only", name,
                         mode_names[limit_infos[i].mode]);
    if (!json_is_number(value) || n < limit_infos[i].min || n > limit_infos[i].max ||
        (!limit_infos[i].fraction && !json_is_integer(value)))
        return error_set(err, ST_INVALID, "/limits/%s: is not %s from %g to %.0f", name,
                         limit_infos[i].fraction ? "a number" : "a whole number",
                         limit_infos[i].min, limit_infos[i].max);
    return ST_OK;
}

static enum status check_limits(const json_t *limits, enum program_mode mode,
                                struct error_text *err)
{
    const json_t *value;
    const char *name;
    enum status st = ST_OK;

    if (!limits)
        return ST_OK;
    if (!json_is_object(limits))
        return error_set(err, ST_INVALID, "/limits: is not an object");
    json_object_foreach((json_t *)(uintptr_t)limits, name, value)
    {
        if (st == ST_OK)
            st = check_limit(name, value, mode, err);
    }
    return st;
}

static enum status check_members(const json_t *manifest, struct error_text *err)
{
    static const char *const known[] = { "name", "summary", "signature", "command",
                                         "mode", "env",     "limits" };
    const json_t *value;
    const char *name;

    json_object_foreach((json_t *)(uintptr_t)manifest, name, value)
    {
        size_t i = 0;

        while (i < sizeof(known) / sizeof(known[0]) && strcmp(name, known[i]) != 0)
            i++;
        if (i == sizeof(known) / sizeof(known[0]))
            return error_set(err, ST_INVALID, "/%s: is not a member of a manifest", name);
    }
    return ST_OK;
}

enum status program_manifest_check(const json_t *manifest, const char *folder,
                                   json_t **ret_definition, struct error_text *err)
{
    const json_t *command = json_object_get(manifest, "command");
    enum program_mode mode = PROGRAM_PERSISTENT;
    char *file = NULL;
    enum status st;

    if (!json_is_object(manifest))
        return error_set(err, ST_INVALID, "it is no JSON object");
    st = check_members(manifest, err);
    if (st == ST_OK)
        st = check_name(json_object_get(manifest, "name"), err);
    if (st == ST_OK)
        st = check_text(json_object_get(manifest, "summary"), "/summary", err);
    if (st == ST_OK)
        st = check_text(json_object_get(manifest, "signature"), "/signature", err);
    if (st == ST_OK)
        st = check_command(command, err);
    if (st == ST_OK)
        st = check_mode(json_object_get(manifest, "mode"), &mode, err);
    if (st == ST_OK)
        st = check_env(json_object_get(manifest, "env"), err);
    if (st == ST_OK)
        st = check_limits(json_object_get(manifest, "limits"), mode, err);
    if (st == ST_OK)
        st = find_program(json_string_value(json_array_get(command, 0)), folder, &file,
                          err);
    if (st != ST_OK)
        return st;
    *ret_definition = json_pack("{s:O, s:s, s:s}", "manifest", manifest, "file", file,
                                "folder", folder);
    free(file);
    return *ret_definition ? ST_OK : error_set(err, ST_NO_MEMORY, "out of memory");
}

/* ---- reading a definition ---------------------------------------------------------- */

bool program_inherits(const char *variable)
{
    static const char *const names[] = { "PATH", "HOME", "LANG", "TZ", "TMPDIR" };
    size_t len = strcspn(variable, "=");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && memcmp(names[i], variable, len) == 0)
            return true;
    }
    return false;
}

static bool read_argv(const json_t *command, struct program_manifest *manifest)
{
    const json_t *arg;
    size_t i;

    manifest->argv = mem_zalloc((json_array_size(command) + 1) * sizeof(char *));
    if (!manifest->argv)
        return false;
    json_array_foreach(command, i, arg)
    {
        manifest->argv[i] = (char *)(uintptr_t)json_string_value(arg);
    }
    return true;
}

static bool add_variable(struct program_manifest *manifest, size_t *count,
                         const char *name, size_t name_len, const char *value)
{
    char *text = mem_alloc(name_len + strlen(value) + 2);

    if (!text)
        return false;
    memcpy(text, name, name_len);
    text[name_len] = '=';
    strcpy(text + name_len + 1, value);
    manifest->env[(*count)++] = text;
    return true;
}

static bool sets(const json_t *env, const char *variable, size_t len)
{
    const json_t *value;
    const char *name;

    json_object_foreach((json_t *)(uintptr_t)env, name, value)
    {
        if (strlen(name) == len && memcmp(name, variable, len) == 0)
            return true;
    }
    return false;
}

/* Those of the manifest, then the inherited ones that it does not set. */
static bool read_env(const json_t *env, char **inherited,
                     struct program_manifest *manifest)
{
    size_t room = json_object_size(env) + 3, count = 0; /* PATH, the trace */
    bool has_path = json_object_get(env, "PATH") != NULL, ok = true;
    const json_t *value;
    const char *name;

    for (char **variable = inherited; *variable; variable++)
        room++;
    manifest->env = mem_zalloc((room + 1) * sizeof(char *));
    if (!manifest->env)
        return false;
    json_object_foreach((json_t *)(uintptr_t)env, name, value) ok =
        ok &&
        add_variable(manifest, &count, name, strlen(name), json_string_value(value));
    for (char **variable = inherited; ok && *variable; variable++) {
        size_t len = strcspn(*variable, "=");

        if (!program_inherits(*variable) || !(*variable)[len] ||
            sets(env, *variable, len))
            continue;
        has_path = has_path || (len == 4 && memcmp(*variable, "PATH", 4) == 0);
        ok = add_variable(manifest, &count, *variable, len, *variable + len + 1);
    }
    if (ok && !has_path)
        ok = add_variable(manifest, &count, "PATH", 4, PATH_DEFAULT);
    if (!json_object_get(env, PROGRAM_TRACE))
        manifest->env_trace = &manifest->env[count];
    manifest->own_state = json_object_get(env, PROGRAM_TRACE_STATE) != NULL;
    return ok;
}

static void read_limits(const json_t *limits, struct program_manifest *manifest)
{
    for (unsigned i = 0; i < PROGRAM_LIMIT_COUNT; i++) {
        double n = json_number_value(json_object_get(limits, limit_infos[i].name));

        manifest->limits[i] = (uint64_t)(limit_infos[i].is_ms ? ceil(n * 1000) : n);
    }
    if (manifest->limits[PROGRAM_LINE] == 0)
        manifest->limits[PROGRAM_LINE] = PROGRAM_LINE_DEFAULT;
}

enum status program_manifest_read(const json_t *definition, char **inherited,
                                  struct program_manifest *ret_manifest,
                                  struct error_text *err)
{
    const json_t *json = json_object_get(definition, "manifest");

    *ret_manifest = (struct program_manifest){
        .name = text_of(json, "name"),
        .file = text_of(definition, "file"),
        .folder = text_of(definition, "folder"),
    };
    if (!ret_manifest->file || !ret_manifest->folder ||
        check_name(json_object_get(json, "name"), err) != ST_OK ||
        check_command(json_object_get(json, "command"), err) != ST_OK ||
        check_env(json_object_get(json, "env"), err) != ST_OK ||
        !read_mode(json_object_get(json, "mode"), &ret_manifest->mode) ||
        check_limits(json_object_get(json, "limits"), ret_manifest->mode, err) != ST_OK)
        return error_set(err, ST_INVALID, "the definition is not a program's");
    if (!read_argv(json_object_get(json, "command"), ret_manifest) ||
        !read_env(json_object_get(json, "env"), inherited, ret_manifest)) {
        program_manifest_clear(ret_manifest);
        return error_set(err, ST_NO_MEMORY, "out of memory");
    }
    read_limits(json_object_get(json, "limits"), ret_manifest);
    return ST_OK;
}

void program_manifest_trace(struct program_manifest *manifest, struct text trace)
{
    struct text parent = frame_trace_parent(trace), state = frame_trace_state(trace);
    char **end = manifest->env_trace;

    if (!end)
        return;
    if (parent.len > 0) {
        (void)snprintf(manifest->trace, sizeof(manifest->trace), PROGRAM_TRACE "=%.*s",
                       (int)parent.len, parent.at);
        *end++ = manifest->trace;
    }
    if (state.len > 0 && !manifest->own_state) {
        (void)snprintf(manifest->trace_state, sizeof(manifest->trace_state),
                       PROGRAM_TRACE_STATE "=%.*s", (int)state.len, state.at);
        *end++ = manifest->trace_state;
    }
    *end = NULL;
}

void program_manifest_clear(struct program_manifest *manifest)
{
    program_manifest_trace(manifest, (struct text){ 0 }); /* the others are the heap's */
    for (char **variable = manifest->env; variable && *variable; variable++)
        mem_free(*variable);
    mem_free(manifest->env);
    mem_free(manifest->argv);
    *manifest = (struct program_manifest){ 0 };
}
