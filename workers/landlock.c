/* SPDX-License-Identifier: MIT */
#include "workers/landlock.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Younger than some headers. */
#define RIGHT_REFER    (1ull << 13) /* version 2 */
#define RIGHT_TRUNCATE (1ull << 14) /* version 3 */
#define SCOPE_SIGNAL   (1ull << 1)  /* version 6 */

struct ruleset_attributes {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

#define READ_RIGHTS LANDLOCK_ACCESS_FS_READ_FILE
#define WRITE_FILE_RIGHTS(version)                                                       \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | ((version) >= 3 ? RIGHT_TRUNCATE : 0))
#define WRITE_FOLDER_RIGHTS(version)                                                     \
    (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                    \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |                        \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                        \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                      \
     LANDLOCK_ACCESS_FS_MAKE_SYM | ((version) >= 2 ? RIGHT_REFER : 0))

struct rules {
    int ruleset;
    uint64_t file_rights; /* of those that a file can have */
    uint64_t read, write; /* what allows the one and the other */
};

int landlock_version(void)
{
    long version =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return version > 0 ? (int)version : 0;
}

/* Allows this for the file, or the folder and all below. What is no longer there, or no
 * file of a file system, needs no rule. */
static bool allow(const struct rules *rules, int at, const char *name, uint64_t rights)
{
    int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat info;
    bool ok = true;

    if (fd == -1)
        return true;
    if (fstat(fd, &info) == 0 && !S_ISLNK(info.st_mode)) {
        const struct landlock_path_beneath_attr rule = {
            .parent_fd = fd,
            .allowed_access =
                S_ISDIR(info.st_mode) ? rights : rights & rules->file_rights,
        };

        ok = rule.allowed_access == 0 ||
             syscall(SYS_landlock_add_rule, rules->ruleset, LANDLOCK_RULE_PATH_BENEATH,
                     &rule, 0) == 0 ||
             errno == EBADFD;
    }
    fd_close(&fd);
    return ok;
}

static bool allow_path(const struct rules *rules, const char *path, uint64_t rights)
{
    char real[PATH_MAX];

    return !realpath(path, real) || allow(rules, AT_FDCWD, real, rights);
}

/* A path that is not treated as what lies around it: without the "/" in front; NULL: none. */
struct kept {
    const char *rest;
    uint64_t rights;
};
#define KEPT 2

static bool begins_with_part(const struct kept *kept, const char *name)
{
    size_t len = strlen(name);

    return kept->rest && strcspn(kept->rest, "/") == len &&
           memcmp(kept->rest, name, len) == 0;
}

static bool is_kept(const struct kept kept[KEPT], const char *name)
{
    for (int i = 0; i < KEPT; i++)
        if (begins_with_part(&kept[i], name))
            return true;
    return false;
}

/* Everything in the folder but the entries on the way to what is kept. */
static bool allow_beside(const struct rules *rules, int folder,
                         const struct kept kept[KEPT], uint64_t rights)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);
    struct dirent *entry;
    bool ok = true;

    if (!dir) { /* it cannot be listed: then nobody finds anything in it */
        fd_close(&fd);
        return true;
    }
    while (ok && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !is_kept(kept, entry->d_name))
            ok = allow(rules, folder, entry->d_name, rights);
    closedir(dir);
    return ok;
}

static bool allow_around(const struct rules *rules, int folder,
                         const struct kept kept[KEPT], uint64_t rights);

/* One step on the way to what is kept. */
static bool allow_towards(const struct rules *rules, int folder,
                          const struct kept kept[KEPT], const char *part, uint64_t rights)
{
    struct kept inner[KEPT] = { 0 };
    int next;
    bool ok;

    for (int i = 0; i < KEPT; i++) {
        if (!begins_with_part(&kept[i], part))
            continue;
        inner[i] = kept[i];
        inner[i].rest += strlen(part);
        if (!*inner[i].rest) /* there */
            return allow(rules, folder, part, kept[i].rights);
        inner[i].rest++;
    }
    next = openat(folder, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    ok = next == -1 || allow_around(rules, next, inner, rights);
    fd_close(&next);
    return ok;
}

/* Everything but what is kept: beside each part of the ways there. */
static bool allow_around(const struct rules *rules, int folder,
                         const struct kept kept[KEPT], uint64_t rights)
{
    bool ok = allow_beside(rules, folder, kept, rights);

    for (int i = 0; ok && i < KEPT; i++) {
        char part[NAME_MAX + 1];
        size_t len = kept[i].rest ? strcspn(kept[i].rest, "/") : 0;

        if (len == 0 || len >= sizeof(part))
            continue;
        memcpy(part, kept[i].rest, len);
        part[len] = '\0';
        if (i == 0 || !begins_with_part(&kept[0], part)) /* else both went together */
            ok = allow_towards(rules, folder, kept, part, rights);
    }
    return ok;
}

/* Everywhere, or everywhere but in the data folder and, for what changes, the frozen one. */
static bool allow_anywhere(const struct rules *rules, const struct landlock_plan *plan,
                           uint64_t rights)
{
    const struct kept kept[KEPT] = {
        { plan->hidden ? plan->hidden + 1 : NULL, 0 },
        { plan->frozen ? plan->frozen + 1 : NULL, rights & rules->read },
    };
    int root;
    bool ok;

    if (!plan->hidden && !plan->frozen)
        return allow_path(rules, "/", rights);
    root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    ok = root == -1 || allow_around(rules, root, kept, rights);
    fd_close(&root);
    return ok;
}

static bool allow_list(const struct rules *rules, const char *paths, uint64_t rights)
{
    char list[PATH_MAX * 4], *save = NULL;
    bool ok = strlen(paths) < sizeof(list);

    if (ok)
        strcpy(list, paths);
    for (char *path = ok ? strtok_r(list, ":", &save) : NULL; ok && path;
         path = strtok_r(NULL, ":", &save))
        ok = allow_path(rules, path, rights);
    return ok;
}

static bool add_rules(const struct rules *rules, const struct landlock_plan *plan)
{
    uint64_t both = rules->read | rules->write;
    uint64_t anywhere = plan->write ? rules->read : both;
    bool ok = allow_anywhere(rules, plan, anywhere);

    if (ok && plan->write)
        ok = allow_list(rules, plan->write, both) && allow_path(rules, "/dev", both);
    return ok && (!plan->scratch || allow_path(rules, plan->scratch, both));
}

enum status landlock_enter(const struct landlock_plan *plan, struct error_text *err)
{
    int version = landlock_version();
    struct rules rules = {
        .file_rights = READ_RIGHTS | WRITE_FILE_RIGHTS(version),
        .read = READ_RIGHTS,
        .write = WRITE_FILE_RIGHTS(version) | WRITE_FOLDER_RIGHTS(version),
    };
    struct ruleset_attributes attributes = {
        .handled_access_fs = rules.read | rules.write,
        .scoped = version >= 6 ? SCOPE_SIGNAL : 0,
    };
    bool ok;

    rules.ruleset =
        (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
    ok = rules.ruleset != -1 && add_rules(&rules, plan) &&
         syscall(SYS_landlock_restrict_self, rules.ruleset, 0) == 0;
    if (!ok)
        (void)error_set(err, ST_IO, "Landlock: %s", strerror(errno));
    fd_close(&rules.ruleset);
    return ok ? ST_OK : ST_IO;
}
