/* SPDX-License-Identifier: MIT */
#include "workers/scratch.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static bool path_of(const char *base, pid_t pid, char ret_path[PATH_MAX])
{
    int len = snprintf(ret_path, PATH_MAX, "%s/%d", base, (int)pid);

    return len > 0 && len < PATH_MAX;
}

bool scratch_enter(const char *base, uid_t uid, gid_t gid)
{
    char path[PATH_MAX];

    if (!path_of(base, getpid(), path))
        return false;
    if (mkdir(path, 0700) == -1) { /* of an earlier process with this number */
        scratch_remove(base, getpid());
        if (mkdir(path, 0700) == -1)
            return false;
    }
    return (uid == (uid_t)-1 || chown(path, uid, gid) == 0) && chdir(path) == 0 &&
           setenv("TMPDIR", path, 1) == 0;
}

/* ---- emptying ---------------------------------------------------------------------- */

/* "." and ".." aside. */
static struct dirent *next_entry(DIR *dir)
{
    struct dirent *entry;

    do
        entry = readdir(dir);
    while (entry &&
           (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry;
}

static DIR *open_dir(int at, const char *name)
{
    int fd = openat(at, name, OPEN_FOLDER);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);

    if (!dir)
        fd_close(&fd);
    return dir;
}

/* A folder without permissions could be neither read nor moved. */
static void make_accessible(int at, const char *name)
{
    struct stat info;

    if (fstatat(at, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode) &&
        (info.st_mode & 0700) != 0700)
        (void)fchmodat(at, name, 0700, 0);
}

static bool remove_simple(int at, const char *name)
{
    return unlinkat(at, name, 0) == 0 ||
           ((errno == EISDIR || errno == EPERM) && unlinkat(at, name, AT_REMOVEDIR) == 0);
}

/* Removes a folder of `top`; the folders that are in it move to top. Whether anything
 * came of it. */
static bool flatten(int top, const char *name)
{
    static unsigned serial;
    char moved[32];
    struct dirent *entry;
    bool progress = false;
    DIR *dir;

    make_accessible(top, name);
    dir = open_dir(top, name);
    if (!dir)
        return false;
    while ((entry = next_entry(dir))) {
        if (remove_simple(dirfd(dir), entry->d_name)) {
            progress = true;
            continue;
        }
        make_accessible(dirfd(dir), entry->d_name);
        (void)snprintf(moved, sizeof(moved), ".%d-%u", (int)getpid(), ++serial);
        if (renameat(dirfd(dir), entry->d_name, top, moved) == 0)
            progress = true;
    }
    closedir(dir);
    return unlinkat(top, name, AT_REMOVEDIR) == 0 || progress;
}

/* One walk through the folder. *ret_progress: something has gone. Whether it is empty. */
static bool sweep(int folder, bool *ret_progress)
{
    DIR *dir = open_dir(folder, ".");
    struct dirent *entry;
    bool empty = true;

    *ret_progress = false;
    if (!dir)
        return false;
    while ((entry = next_entry(dir))) {
        empty = false;
        if (remove_simple(folder, entry->d_name) || flatten(folder, entry->d_name))
            *ret_progress = true;
    }
    closedir(dir);
    return empty;
}

bool scratch_empty(int folder)
{
    static const struct timespec mark[2] = { { 0, 0 }, { 0, 0 } };
    bool empty, progress;

    (void)fchmod(folder, 0700);
    do
        empty = sweep(folder, &progress);
    while (!empty && progress);
    return futimens(folder, mark) == 0 && empty;
}

bool scratch_touched(int folder)
{
    struct stat info;

    return fstat(folder, &info) == -1 || info.st_mtim.tv_sec != 0 ||
           info.st_mtim.tv_nsec != 0;
}

bool scratch_leave(const char *base, pid_t pid)
{
    char path[PATH_MAX];

    return !path_of(base, pid, path) || rmdir(path) == 0 || errno == ENOENT;
}

void scratch_remove(const char *base, pid_t pid)
{
    char path[PATH_MAX];
    int folder;

    if (!path_of(base, pid, path))
        return;
    folder = open(path, OPEN_FOLDER);
    if (folder != -1)
        (void)scratch_empty(folder);
    fd_close(&folder);
    (void)rmdir(path);
}
