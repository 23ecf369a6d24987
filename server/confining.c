/* SPDX-License-Identifier: MIT */
#include "server/confining.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"
#include "workers/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct confining {
    struct confinement plan;
    char data[PATH_MAX];
    char scratch[PATH_MAX];
    char *write;
    const char *cgroup_setting;
    struct cgroup cgroup;
    bool made;
};

/* ---- paths ------------------------------------------------------------------------- */

/* Of a folder that may not be there yet: then its parent has to be. */
static bool absolute(const char *path, char ret_path[PATH_MAX])
{
    char parent[PATH_MAX], real[PATH_MAX];
    const char *name = strrchr(path, '/');
    int len;

    if (realpath(path, ret_path))
        return true;
    if (strlen(path) >= sizeof(parent) || (name && !name[1]))
        return false;
    if (name)
        (void)snprintf(parent, sizeof(parent), "%.*s/", (int)(name - path), path);
    if (!realpath(name ? parent : ".", real))
        return false;
    len = snprintf(ret_path, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                   name ? name + 1 : path);
    return len < PATH_MAX;
}

static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static enum status find_data(struct confining *confining, const struct config *config,
                             struct error_text *err)
{
    if (config->store == STORE_MEMORY)
        return ST_OK;
    if (!absolute(config->data, confining->data))
        return ST_OK; /* the store will say what is wrong with it */
    if (strcmp(confining->data, "/") == 0)
        return error_set(err, ST_INVALID, "setting data: not the root of all folders");
    confining->plan.data = confining->data;
    return ST_OK;
}

static enum status find_scratch(struct confining *confining, const struct config *config,
                                struct error_text *err)
{
    const char *base = config->scratch_dir ? config->scratch_dir : getenv("TMPDIR");
    uint64_t own[] = { (uint64_t)getpid(), clock_mono_ns() };
    char real[PATH_MAX];
    uint64_t hash;

    if (!base || !*base)
        base = "/tmp";
    if (!realpath(base, real))
        return error_set(err, ST_INVALID, "setting scratch_dir: %s: %s", base,
                         strerror(errno));
    hash = confining->plan.data ? XXH3_64bits(confining->data, strlen(confining->data))
                                : XXH3_64bits(own, sizeof(own));
    if (snprintf(confining->scratch, sizeof(confining->scratch), "%s/poold-%016llx", real,
                 (unsigned long long)hash) >= PATH_MAX)
        return error_set(err, ST_INVALID, "setting scratch_dir: the path is too long");
    if (confining->plan.data && is_below(real, confining->data))
        return error_set(err, ST_INVALID,
                         "setting scratch_dir: lies in the data directory, which tasks "
                         "must not see");
    confining->plan.scratch = confining->scratch;
    return ST_OK;
}

/* "DIR,DIR" -> "/dir:/dir" */
static enum status find_write(struct confining *confining, const struct config *config,
                              struct error_text *err)
{
    char *list = config->task_write ? mem_strdup(config->task_write) : NULL, *save = NULL;
    struct buf paths = BUF_INIT;
    enum status st = ST_OK;

    if (!config->task_write)
        return ST_OK;
    for (char *dir = list ? strtok_r(list, ",", &save) : NULL; dir && st == ST_OK;
         dir = strtok_r(NULL, ",", &save)) {
        char real[PATH_MAX];
        struct stat info;

        if (!realpath(dir, real) || stat(real, &info) == -1)
            st = error_set(err, ST_INVALID, "setting task_write: %s: %s", dir,
                           strerror(errno));
        else if (!S_ISDIR(info.st_mode) || strchr(real, ':'))
            st = error_set(err, ST_INVALID,
                           "setting task_write: %s: not a folder, or with a : in its "
                           "path",
                           dir);
        else if (confining->plan.data && is_below(confining->data, real))
            st = error_set(err, ST_INVALID,
                           "setting task_write: %s: the data directory is in it", dir);
        else
            buf_addf(&paths, "%s%s", paths.len ? ":" : "", real);
    }
    if (st == ST_OK)
        confining->write = paths.failed || !list ? NULL : mem_strdup(paths.data);
    if (st == ST_OK && !confining->write)
        st = error_set(err, ST_NO_MEMORY, "out of memory");
    buf_clear(&paths);
    mem_free(list);
    confining->plan.write = confining->write;
    return st;
}

static enum status find_user(struct confining *confining, const struct config *config,
                             struct error_text *err)
{
    struct confinement *plan = &confining->plan;

    if (!config->task_user)
        return ST_OK;
    if (geteuid() != 0)
        return error_set(
            err, ST_INVALID,
            "setting task_user: only root can start workers as another user");
    if (confine_user(config->task_user, &plan->uid, &plan->gid) != ST_OK)
        return error_set(err, ST_INVALID, "setting task_user: there is no user %s",
                         config->task_user);
    plan->has_user = true;
    return ST_OK;
}

/* Of the same name as the folder. */
static enum status open_group(struct confining *confining, struct error_text *err)
{
    enum status st = cgroup_open(&confining->cgroup, confining->cgroup_setting,
                                 strrchr(confining->scratch, '/') + 1, err);

    confining->plan.cgroup = confining->cgroup.plan;
    return st;
}

enum status confining_new(const struct config *config, struct confining **ret_confining,
                          struct error_text *err)
{
    struct confining *confining = mem_zalloc(sizeof(*confining));
    enum status st;

    if (!confining)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    confining->plan.sandbox = config->sandbox == SANDBOX_AUTO;
    confining->cgroup_setting = config->cgroup;
    st = find_data(confining, config, err);
    if (st == ST_OK)
        st = find_scratch(confining, config, err);
    if (st == ST_OK)
        st = find_write(confining, config, err);
    if (st == ST_OK)
        st = find_user(confining, config, err);
    if (st == ST_OK)
        st = open_group(confining, err);
    if (st != ST_OK) {
        confining_free(confining);
        return st;
    }
    *ret_confining = confining;
    return ST_OK;
}

/* ---- the folder -------------------------------------------------------------------- */

enum status confining_open(struct confining *confining, struct error_text *err)
{
    const char *path = confining->scratch;
    /* Another user has to get to its own folder in it, and to see no other. */
    mode_t mode = confining->plan.has_user ? 0711 : 0700;
    struct stat info;
    int folder;

    if (mkdir(path, mode) == -1 && errno != EEXIST)
        return error_set(err, ST_IO, "%s: %s; see the setting scratch_dir", path,
                         strerror(errno));
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder == -1 || fstat(folder, &info) == -1 || info.st_uid != geteuid()) {
        fd_close(&folder);
        return error_set(err, ST_DENIED,
                         "%s: is no folder of this user; see the setting scratch_dir",
                         path);
    }
    confining->made = true;
    (void)scratch_empty(folder);
    (void)fchmod(folder, mode);
    fd_close(&folder);
    cgroup_clear(&confining->cgroup);
    return ST_OK;
}

void confining_free(struct confining *confining)
{
    int folder;

    if (!confining)
        return;
    if (confining->made) {
        folder =
            open(confining->scratch, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (folder != -1)
            (void)scratch_empty(folder);
        fd_close(&folder);
        (void)rmdir(confining->scratch);
    }
    cgroup_close(&confining->cgroup);
    mem_free(confining->write);
    mem_free(confining);
}

const struct confinement *confining_plan(const struct confining *confining)
{
    return &confining->plan;
}

static const char *yes_no(bool is)
{
    return is ? "yes" : "no";
}

void confining_log(const struct confining *confining)
{
    const struct confinement *plan = &confining->plan;
    struct confine_support support = confine_support();

    log_info("tasks are confined", "seccomp=%s landlock=%d user=%d scratch=%s write=%s",
             plan->sandbox && support.seccomp ? "yes" : "no",
             plan->sandbox ? support.landlock : 0,
             plan->has_user ? (int)plan->uid : (int)geteuid(), plan->scratch,
             plan->write ? plan->write : "anywhere");
    log_info("workers have control groups",
             "dir=%s kill=%s memory=%s pids=%s reason=\"%s\"",
             plan->cgroup.base ? plan->cgroup.base : "none", yes_no(plan->cgroup.kill),
             yes_no(plan->cgroup.memory), yes_no(plan->cgroup.pids),
             strcmp(confining->cgroup_setting, "off") == 0 ? "setting cgroup"
                                                           : confining->cgroup.why.text);
    if (!plan->sandbox || support.landlock == 0)
        log_warn("tasks can read the database: there is no sandbox", "reason=\"%s\"",
                 plan->sandbox ? "this kernel has no Landlock" : "setting sandbox");
}
