/* SPDX-License-Identifier: MIT */
/* Where the control groups are, and whether they are ours to use. */
#include "workers/cgroup.h"

#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TEXT_MAX (1u << 20) /* bytes of a mountinfo */

/* ---- texts of the kernel ----------------------------------------------------------- */

/* One line of mountinfo: "36 35 0:29 ROOT POINT rw,nosuid shared:4 - cgroup2 none rw". */
struct mount {
    char root[PATH_MAX], point[PATH_MAX];
};

/* Blanks and the like are written as \040. */
static bool unescape(const char *from, size_t len, char ret_path[PATH_MAX])
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned byte = (unsigned char)from[i];

        if (out >= PATH_MAX - 1)
            return false;
        if (byte == '\\' && len - i > 3 && sscanf(from + i + 1, "%3o", &byte) == 1)
            i += 3;
        ret_path[out++] = (char)byte;
    }
    ret_path[out] = '\0';
    return true;
}

static bool parse_mount(const char *line, size_t len, struct mount *ret_mount)
{
    const char *field[6], *end = line + len, *dash = memmem(line, len, " - ", 3);
    size_t count = 0;

    for (const char *at = line; at < end && count < 6; count++) {
        field[count] = at;
        at = memchr(at, ' ', (size_t)(end - at));
        if (!at)
            break;
        at++;
    }
    return count == 6 && dash && (size_t)(end - dash) > 11 &&
           memcmp(dash, " - cgroup2 ", 11) == 0 &&
           unescape(field[3], (size_t)(field[4] - field[3]) - 1, ret_mount->root) &&
           unescape(field[4], (size_t)(field[5] - field[4]) - 1, ret_mount->point);
}

/* The next mount of version 2; *text goes behind it. */
static bool next_mount(const char **text, struct mount *ret_mount)
{
    while (**text) {
        const char *line = *text;
        size_t len = strcspn(line, "\n");

        *text = line + len + (line[len] == '\n');
        if (parse_mount(line, len, ret_mount))
            return true;
    }
    return false;
}

/* What is left of the path behind the folder, "" or "/…"; NULL: it is not in it. */
static const char *behind(const char *path, const char *folder)
{
    size_t len = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

    if (strncmp(path, folder, len) != 0 || (path[len] && path[len] != '/'))
        return NULL;
    return strcmp(path + len, "/") == 0 ? "" : path + len;
}

bool cgroup_find(const char *membership, const char *mounts, char ret_mount[PATH_MAX],
                 char ret_group[PATH_MAX])
{
    const char *line =
        strncmp(membership, "0::", 3) == 0 ? membership : strstr(membership, "\n0::");
    char own[PATH_MAX];
    struct mount mount;
    int len;

    if (!line)
        return false;
    line += line == membership ? 3 : 4;
    len = snprintf(own, sizeof(own), "%.*s", (int)strcspn(line, "\n"), line);
    /* "/.." is outside of the namespace. */
    if (len <= 0 || len >= PATH_MAX || own[0] != '/' || strncmp(own, "/..", 3) == 0)
        return false;
    while (next_mount(&mounts, &mount)) {
        const char *rest = behind(own, mount.root);

        if (!rest)
            continue;
        len = snprintf(ret_group, PATH_MAX, "%s%s", mount.point, rest);
        strcpy(ret_mount, mount.point);
        return len < PATH_MAX;
    }
    return false;
}

bool cgroup_find_mount(const char *mounts, const char *path, char ret_mount[PATH_MAX])
{
    struct mount mount;
    size_t best = 0;

    while (next_mount(&mounts, &mount)) {
        if (!behind(path, mount.point) || strlen(mount.point) <= best)
            continue;
        best = strlen(mount.point);
        strcpy(ret_mount, mount.point);
    }
    return best > 0;
}

/* ---- here and now ------------------------------------------------------------------ */

/* The caller frees it; NULL: it cannot be read. */
static char *read_text(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd == -1 ? NULL : mem_alloc(TEXT_MAX);
    size_t len = 0;
    ssize_t n = 1;

    while (text && n > 0 && len < TEXT_MAX - 1) {
        n = read(fd, text + len, TEXT_MAX - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    if (text)
        text[len] = '\0';
    fd_close(&fd);
    return text;
}

/* systemd manages all groups but those that it has delegated, and marks these. */
static bool is_delegated(const char *group)
{
    static const char *const marks[] = { "user.delegate", "trusted.delegate" };
    char value = '0';

    if (access("/run/systemd/system", F_OK) == -1)
        return true;
    for (size_t i = 0; i < 2; i++)
        if (getxattr(group, marks[i], &value, 1) == 1 && value == '1')
            return true;
    return false;
}

static bool is_group(const char *path)
{
    struct statfs info;

    return statfs(path, &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC;
}

static enum status open_given(struct cgroup *cgroup, const char *path, const char *mounts,
                              struct error_text *err)
{
    if (!realpath(path, cgroup->parent))
        return error_set(err, ST_INVALID, "setting cgroup: %s: %s", path,
                         strerror(errno));
    if (!is_group(cgroup->parent) ||
        !cgroup_find_mount(mounts, cgroup->parent, cgroup->mount))
        return error_set(err, ST_INVALID,
                         "setting cgroup: %s: is no control group of version 2", path);
    return ST_OK;
}

static enum status open_own(struct cgroup *cgroup, const char *mounts,
                            struct error_text *err)
{
    char *membership = read_text("/proc/self/cgroup");
    bool found =
        membership && cgroup_find(membership, mounts, cgroup->mount, cgroup->parent);

    mem_free(membership);
    if (!found)
        return error_set(err, ST_NOT_FOUND, "there are no control groups of version 2");
    if (!is_delegated(cgroup->parent))
        return error_set(err, ST_DENIED, "%s: systemd has not delegated it (Delegate=)",
                         cgroup->parent);
    return ST_OK;
}

enum status cgroup_open(struct cgroup *cgroup, const char *setting, const char *name,
                        struct error_text *err)
{
    bool own = strcmp(setting, "auto") == 0;
    struct error_text why = { "" };
    enum status st;
    char *mounts;

    *cgroup = (struct cgroup){ 0 };
    if (strcmp(setting, "off") == 0)
        return ST_OK;
    mounts = read_text("/proc/self/mountinfo");
    st = !mounts ? error_set(&why, ST_IO, "/proc/self/mountinfo cannot be read")
         : own   ? open_own(cgroup, mounts, &why)
                 : open_given(cgroup, setting, mounts, &why);
    mem_free(mounts);
    if (st == ST_OK)
        st = cgroup_make(cgroup, name, &why);
    if (st == ST_OK)
        return ST_OK;
    if (!own)
        return error_set(
            err, ST_INVALID, "%s%s",
            strncmp(why.text, "setting", 7) == 0 ? "" : "setting cgroup: ", why.text);
    cgroup->why = why;
    return ST_OK;
}
