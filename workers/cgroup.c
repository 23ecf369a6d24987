/* SPDX-License-Identifier: MIT */
#include "workers/cgroup.h"

#include "common/clock.h"
#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX     4096 /* bytes of a file that is read whole; of longer ones the first */
#define REMOVE_DEPTH 8    /* groups within groups, which a task as root may have made */

enum { MEMORY, PIDS };
static const char *const controllers[] = { [MEMORY] = "memory", [PIDS] = "pids" };

/* ---- files ------------------------------------------------------------------------- */

static bool path_in(char ret_path[PATH_MAX], const char *folder, const char *name)
{
    int len = snprintf(ret_path, PATH_MAX, "%s/%s", folder, name);

    if (len > 0 && len < PATH_MAX)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

/* The text, cut at FILE_MAX - 1 bytes; "" if there is none. */
static void read_file(const char *folder, const char *name, char ret_text[FILE_MAX])
{
    char path[PATH_MAX];
    int fd = path_in(path, folder, name) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd == -1 ? -1 : read(fd, ret_text, FILE_MAX - 1);

    ret_text[n > 0 ? n : 0] = '\0';
    fd_close(&fd);
}

/* The kernel takes a value as a whole or not at all. */
static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    int fd = path_in(path, folder, name) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    bool ok = fd != -1 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int error = errno;

    fd_close(&fd);
    errno = error;
    return ok;
}

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_MAX];

    return path_in(path, folder, name) && access(path, F_OK) == 0;
}

/* Whether the word is one of the text, between blanks and line ends. */
static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = text; (at = strstr(at, word)); at += len)
        if ((at == text || at[-1] == ' ') && strchr(" \n", at[len]))
            return true;
    return false;
}

/* The number behind the key in a text of lines "KEY NUMBER"; 0 without the key. */
static unsigned long long number_of(const char *text, const char *key)
{
    size_t len = strlen(key);

    for (const char *line = text; *line; line += strspn(line, "\n")) {
        if (strncmp(line, key, len) == 0 && line[len] == ' ')
            return strtoull(line + len + 1, NULL, 10);
        line += strcspn(line, "\n");
    }
    return 0;
}

/* ---- groups ------------------------------------------------------------------------ */

static void kill_group(const char *group)
{
    (void)write_file(group, "cgroup.kill", "1");
}

/* Waits until nobody lives in it. */
static void wait_until_empty(const char *group)
{
    uint64_t deadline = clock_mono_ns() + CGROUP_WAIT_MS * NS_PER_MS, now;
    char path[PATH_MAX], text[FILE_MAX];
    int fd =
        path_in(path, group, "cgroup.events") ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    while (fd != -1 && (now = clock_mono_ns()) < deadline) {
        struct pollfd changed = { .fd = fd, .events = POLLPRI };
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

        text[n > 0 ? n : 0] = '\0';
        if (number_of(text, "populated") == 0)
            break;
        (void)poll(&changed, 1, (int)((deadline - now) / NS_PER_MS) + 1);
    }
    fd_close(&fd);
}

/* With the groups in it, from the innermost. */
static void remove_group(const char *group, int depth)
{
    DIR *dir = depth > 0 ? opendir(group) : NULL;
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char path[PATH_MAX];
        struct stat info;

        if (entry->d_name[0] != '.' && path_in(path, group, entry->d_name) &&
            lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
            remove_group(path, depth - 1);
    }
    if (dir)
        closedir(dir);
    (void)rmdir(group);
}

static void clear_group(const char *group)
{
    kill_group(group);
    wait_until_empty(group);
    remove_group(group, REMOVE_DEPTH);
}

/* ---- the base ---------------------------------------------------------------------- */

static bool is_ours(pid_t pid)
{
    char path[64], text[FILE_MAX];
    const char *end;
    int parent = 0;

    if (pid == getpid())
        return true;
    (void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    read_file(path, "stat", text);
    end = strrchr(text, ')');
    return end && sscanf(end + 1, " %*c %d", &parent) == 1 && parent == getpid();
}

/* Moves the server and its children out of the parent, if nobody else is in it. */
static bool make_room(struct cgroup *cgroup)
{
    char server[PATH_MAX], text[FILE_MAX], number[24], *rest = text;

    read_file(cgroup->parent, "cgroup.procs", text);
    for (char *at = text; *at; at += strspn(at, "\n")) {
        if (!is_ours((pid_t)strtol(at, &at, 10))) {
            errno = EBUSY;
            return false;
        }
    }
    if (!path_in(server, cgroup->base, "server") ||
        (mkdir(server, 0755) == -1 && errno != EEXIST))
        return false;
    while (*rest) {
        (void)snprintf(number, sizeof(number), "%ld", strtol(rest, &rest, 10));
        rest += strspn(rest, "\n");
        if (!write_file(server, "cgroup.procs", number) && errno != ESRCH)
            return false;
        cgroup->moved = true;
    }
    return true;
}

static bool enable_in(const char *group, const char *controller, bool on)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%c%s", on ? '+' : '-', controller);
    return write_file(group, "cgroup.subtree_control", text);
}

/* For workers: in the parent and in the base. */
static bool enable(struct cgroup *cgroup, unsigned which)
{
    const char *controller = controllers[which];
    char before[FILE_MAX];

    read_file(cgroup->parent, "cgroup.subtree_control", before);
    if (!has_word(before, controller)) {
        if (!enable_in(cgroup->parent, controller, true) &&
            (errno != EBUSY || cgroup->moved || !make_room(cgroup) ||
             !enable_in(cgroup->parent, controller, true)))
            return false;
        cgroup->enabled[which] = controller;
    }
    return enable_in(cgroup->base, controller, true);
}

static void enable_all(struct cgroup *cgroup)
{
    bool *const held[] = { [MEMORY] = &cgroup->plan.memory, [PIDS] = &cgroup->plan.pids };
    char there[FILE_MAX];

    read_file(cgroup->parent, "cgroup.controllers", there);
    for (unsigned i = 0; i < 2; i++) {
        if (!has_word(there, controllers[i]))
            (void)error_set(&cgroup->why, ST_NOT_FOUND, "%s: there is no controller %s",
                            cgroup->parent, controllers[i]);
        else if (enable(cgroup, i))
            *held[i] = true;
        else
            (void)error_set(&cgroup->why, ST_IO, "%s: the controller %s: %s",
                            cgroup->parent, controllers[i], strerror(errno));
    }
}

enum status cgroup_make(struct cgroup *cgroup, const char *name, struct error_text *err)
{
    struct cgroup_plan *plan = &cgroup->plan;
    int error;

    if (!path_in(cgroup->base, cgroup->parent, name) ||
        (mkdir(cgroup->base, 0755) == -1 && errno != EEXIST)) {
        error = errno;
        return error_set(
            err, error == EACCES || error == EPERM || error == EROFS ? ST_DENIED : ST_IO,
            "%s: no group can be made: %s", cgroup->parent, strerror(error));
    }
    cgroup->made = true;
    plan->kill = has_file(cgroup->base, "cgroup.kill");
    enable_all(cgroup);
    if (plan->kill || plan->memory || plan->pids) {
        plan->base = cgroup->base;
        plan->mount = cgroup->mount[0] ? cgroup->mount : NULL;
    }
    return ST_OK;
}

void cgroup_clear(struct cgroup *cgroup)
{
    DIR *dir = cgroup->made ? opendir(cgroup->base) : NULL;
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char group[PATH_MAX];
        char *end;

        if (strtol(entry->d_name, &end, 10) > 0 && !*end &&
            path_in(group, cgroup->base, entry->d_name))
            clear_group(group);
    }
    if (dir)
        closedir(dir);
}

void cgroup_close(struct cgroup *cgroup)
{
    char number[24];

    if (!cgroup->made)
        return;
    (void)snprintf(number, sizeof(number), "%d", (int)getpid());
    for (unsigned i = 0; i < 2; i++) {
        if (!cgroup->enabled[i])
            continue;
        (void)enable_in(cgroup->base, cgroup->enabled[i], false);
        (void)enable_in(cgroup->parent, cgroup->enabled[i], false);
    }
    /* Not killed: this process is perhaps in it. Its workers have ended. */
    if (!cgroup->moved || write_file(cgroup->parent, "cgroup.procs", number))
        remove_group(cgroup->base, REMOVE_DEPTH);
    cgroup->made = false;
}

/* ---- for one worker ---------------------------------------------------------------- */

static bool group_of(const struct cgroup_plan *plan, pid_t worker,
                     char ret_path[PATH_MAX])
{
    char name[24];

    (void)snprintf(name, sizeof(name), "%d", (int)worker);
    return plan->base && path_in(ret_path, plan->base, name);
}

static bool write_limit(const char *group, const char *name, uint64_t limit)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)limit);
    return limit == 0 || write_file(group, name, text);
}

/* Swap would only put off the end; not every kernel has it to limit. */
bool cgroup_set_limits(const struct cgroup_plan *plan, pid_t worker,
                       const struct limits *limits)
{
    uint64_t memory = limits->at[LIMIT_MEMORY];
    char group[PATH_MAX];

    if (!group_of(plan, worker, group))
        return false;
    if (plan->memory && memory > 0 &&
        (!write_limit(group, "memory.max", memory) ||
         !write_file(group, "memory.oom.group", "1") ||
         (has_file(group, "memory.swap.max") &&
          !write_file(group, "memory.swap.max", "0"))))
        return false;
    return !plan->pids || write_limit(group, "pids.max", limits->at[LIMIT_PROCESSES]);
}

bool cgroup_enter(const struct cgroup_plan *plan, const struct limits *limits)
{
    char group[PATH_MAX];

    if (!plan->base)
        return true;
    if (!group_of(plan, getpid(), group))
        return false;
    if (mkdir(group, 0755) == -1) { /* of an earlier process with this number */
        clear_group(group);
        if (mkdir(group, 0755) == -1)
            return false;
    }
    return cgroup_set_limits(plan, getpid(), limits) &&
           cgroup_join(plan, getpid(), getpid());
}

bool cgroup_join(const struct cgroup_plan *plan, pid_t worker, pid_t pid)
{
    char group[PATH_MAX], number[24];

    (void)snprintf(number, sizeof(number), "%d", (int)pid);
    return group_of(plan, worker, group) && write_file(group, "cgroup.procs", number);
}

void cgroup_kill(const struct cgroup_plan *plan, pid_t worker)
{
    char group[PATH_MAX];

    if (plan->kill && group_of(plan, worker, group))
        kill_group(group);
}

bool cgroup_out_of_memory(const struct cgroup_plan *plan, pid_t worker)
{
    char group[PATH_MAX], text[FILE_MAX];

    if (!plan->memory || !group_of(plan, worker, group))
        return false;
    read_file(group, "memory.events", text);
    return number_of(text, "oom_kill") > 0;
}

bool cgroup_leave(const struct cgroup_plan *plan, pid_t worker)
{
    char group[PATH_MAX];

    return !group_of(plan, worker, group) || rmdir(group) == 0 || errno == ENOENT;
}

void cgroup_remove(const struct cgroup_plan *plan, pid_t worker)
{
    char group[PATH_MAX];

    if (group_of(plan, worker, group))
        clear_group(group);
}
