/* SPDX-License-Identifier: MIT */
#include "server/process_use.h"

#include "common/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define STAT_MAX     1024
#define CHILDREN_MAX 4096 /* bytes of a list of children that are read at a time */

/* The start of a file; ret_text is terminated. */
static bool read_file(const char *path, char *ret_text, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, ret_text, cap - 1);

    fd_close(&fd);
    ret_text[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* Adds one process; with_waited: also the time of children that it has waited for. False if
 * there is none. See proc_pid_stat(5): the numbers are those from behind the name on. */
static bool add_process(pid_t pid, bool with_waited, struct process_use *use)
{
    unsigned long user, kernel;
    long waited_user, waited_kernel, threads, resident_pages;
    unsigned long virtual_bytes;
    char path[64], text[STAT_MAX];
    const char *rest;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_file(path, text, sizeof(text)) || !(rest = strrchr(text, ')')))
        return false;
    if (sscanf(rest + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld %*d %*d %ld "
               "%*d %*u %lu %ld",
               &user, &kernel, &waited_user, &waited_kernel, &threads, &virtual_bytes,
               &resident_pages) != 7)
        return false;
    use->processes++;
    use->threads += (uint64_t)threads;
    use->virtual_bytes += virtual_bytes;
    use->resident_bytes += (uint64_t)resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    use->cpu_seconds += ((double)(user + kernel) +
                         (with_waited ? (double)(waited_user + waited_kernel) : 0)) /
                        (double)sysconf(_SC_CLK_TCK);
    return true;
}

struct tree {
    pid_t pids[PROCESS_TREE_MAX]; /* known; those behind `at` have not been looked at */
    size_t count, at;
};

static void add_children(struct tree *tree, const char *path)
{
    char text[CHILDREN_MAX], *next = text, *end;

    if (!read_file(path, text, sizeof(text)))
        return;
    while (tree->count < PROCESS_TREE_MAX) {
        long pid = strtol(next, &end, 10);

        /* A number that reaches to the end of the text may have been cut. */
        if (end == next || *end != ' ')
            return;
        tree->pids[tree->count++] = (pid_t)pid;
        next = end;
    }
}

/* Those of each thread. */
static void find_children(struct tree *tree, pid_t pid)
{
    char path[320];
    struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid,
                       entry->d_name);
        add_children(tree, path);
    }
    (void)closedir(dir);
}

struct process_use process_use_of(pid_t pid)
{
    struct process_use use = { 0 };

    (void)add_process(pid, false, &use);
    return use;
}

struct process_use process_use_of_tree(pid_t root)
{
    struct process_use use = { 0 };
    struct tree tree = { .pids = { root }, .count = root > 0 ? 1 : 0 };

    for (; tree.at < tree.count; tree.at++)
        if (add_process(tree.pids[tree.at], true, &use))
            find_children(&tree, tree.pids[tree.at]);
    return use;
}

uint64_t process_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;
    struct dirent *entry;

    if (!dir)
        return 0;
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count - 1; /* the one that reads */
}

uint64_t process_max_fds(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}
