/* SPDX-License-Identifier: MIT */
#include "server/key_file.h"

#include "common/buf.h"
#include "common/fd.h"
#include "common/mem.h"
#include "server/json_load.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION  1
#define FILE_MAX (8u << 20) /* bytes */

struct paths {
    char file[PATH_MAX], draft[PATH_MAX], lock[PATH_MAX];
};

static enum status paths_of(const char *dir, struct paths *ret_paths,
                            struct error_text *err)
{
    size_t room = PATH_MAX - sizeof("/" KEY_FILE_NAME ".lock");

    if (strlen(dir) > room)
        return error_set(err, ST_INVALID, "%.80s...: the path is too long", dir);
    (void)snprintf(ret_paths->file, PATH_MAX, "%s/" KEY_FILE_NAME, dir);
    (void)snprintf(ret_paths->draft, PATH_MAX, "%s/" KEY_FILE_NAME ".new", dir);
    (void)snprintf(ret_paths->lock, PATH_MAX, "%s/" KEY_FILE_NAME ".lock", dir);
    return ST_OK;
}

static enum status errno_failure(const char *path, struct error_text *err)
{
    int error = errno;

    return error_set(
        err, error == EACCES || error == EPERM || error == EROFS ? ST_DENIED : ST_IO,
        "%s: %s", path, strerror(error));
}

/* ---- the list ---------------------------------------------------------------------- */

void key_list_clear(struct key_list *list)
{
    mem_free(list->keys);
    *list = (struct key_list){ NULL, 0 };
}

static int compare_ids(const void *left, const void *right)
{
    const struct key *a = left, *b = right;

    return a->id < b->id ? -1 : a->id > b->id;
}

struct key *key_list_find(const struct key_list *list, uint64_t id)
{
    struct key wanted = { .id = id };

    return list->count
               ? bsearch(&wanted, list->keys, list->count, sizeof(wanted), compare_ids)
               : NULL;
}

struct key *key_list_named(const struct key_list *list, const char *id_or_name)
{
    struct text text = { id_or_name, strlen(id_or_name) };
    uint64_t id;
    struct key *key = key_id_parse(text, &id) ? key_list_find(list, id) : NULL;

    for (size_t i = 0; i < list->count && !key; i++)
        if (strcmp(list->keys[i].name, id_or_name) == 0)
            key = &list->keys[i];
    return key;
}

/* ---- reading ----------------------------------------------------------------------- */

bool key_file_exists(const char *dir)
{
    struct paths paths;

    return paths_of(dir, &paths, NULL) == ST_OK && access(paths.file, F_OK) == 0;
}

static enum status read_text(const char *path, struct buf *ret_text,
                             struct error_text *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    ssize_t len = 1;
    enum status st = ST_OK;

    if (fd < 0)
        return errno == ENOENT ? ST_NOT_FOUND : errno_failure(path, err);
    if (fstat(fd, &info) != 0)
        st = errno_failure(path, err);
    else if (!S_ISREG(info.st_mode) || (info.st_mode & (S_IWGRP | S_IWOTH)))
        st = error_set(err, ST_DENIED, "%s: is not a file that only its owner may write",
                       path);
    else if (info.st_size > (off_t)FILE_MAX)
        st = error_set(err, ST_CORRUPT, "%s: is too large", path);
    while (st == ST_OK && len > 0 && buf_reserve(ret_text, BUFSIZ)) {
        len = read(fd, ret_text->data + ret_text->len, BUFSIZ);
        if (len < 0)
            st = errno_failure(path, err);
        else
            ret_text->len += (size_t)len;
    }
    fd_close(&fd);
    if (st == ST_OK && ret_text->failed)
        st = error_set(err, ST_NO_MEMORY, "%s: out of memory", path);
    return st;
}

static enum status load(const json_t *root, struct key_list *ret_list)
{
    const json_t *keys = json_object_get(root, "keys"), *value;
    size_t count = json_array_size(keys), i;

    if (json_integer_value(json_object_get(root, "version")) != VERSION ||
        !json_is_array(keys) || count > KEYS_MAX)
        return ST_CORRUPT;
    ret_list->keys = mem_alloc((count + 1) * sizeof(*ret_list->keys));
    if (!ret_list->keys)
        return ST_NO_MEMORY;
    json_array_foreach(keys, i, value)
    {
        if (key_load(value, &ret_list->keys[i]) != ST_OK)
            return ST_CORRUPT;
    }
    ret_list->count = count;
    qsort(ret_list->keys, count, sizeof(*ret_list->keys), compare_ids);
    return ST_OK;
}

enum status key_file_read(const char *dir, struct key_list *ret_list,
                          struct error_text *err)
{
    struct paths paths;
    struct buf text = BUF_INIT;
    json_t *root = NULL;
    bool no_memory = false;
    enum status st = paths_of(dir, &paths, err);

    *ret_list = (struct key_list){ NULL, 0 };
    if (st == ST_OK)
        st = read_text(paths.file, &text, err);
    if (st == ST_OK) {
        root = json_load(buf_text(&text), JSON_REJECT_DUPLICATES, &no_memory);
        st = root ? load(root, ret_list) : no_memory ? ST_NO_MEMORY : ST_CORRUPT;
        if (st != ST_OK)
            (void)error_set(err, st, "%s: %s", paths.file,
                            st == ST_CORRUPT ? "is not a file of keys, or is damaged"
                                             : status_text(st));
    }
    if (st != ST_OK)
        key_list_clear(ret_list);
    json_decref(root);
    buf_clear(&text);
    return st;
}

/* ---- writing ----------------------------------------------------------------------- */

static int add_bytes(const char *bytes, size_t len, void *out)
{
    buf_add(out, bytes, len);
    return 0;
}

static bool save(const struct key_list *list, struct buf *out)
{
    json_t *keys = json_array();
    json_t *root = json_pack("{s:i, s:O}", "version", VERSION, "keys", keys);
    bool ok = keys && root;

    for (size_t i = 0; i < list->count && ok; i++)
        ok = json_array_append_new(keys, key_save(&list->keys[i])) == 0;
    ok = ok && json_dump_callback(root, add_bytes, out, JSON_INDENT(1)) == 0;
    buf_add_char(out, '\n');
    json_decref(keys);
    json_decref(root);
    return ok && !out->failed;
}

/* Who runs the server is to read what root has written for it. */
static void give_to_owner(int fd, const char *dir)
{
    struct stat info;

    if (geteuid() == 0 && stat(dir, &info) == 0 && info.st_uid != 0 &&
        fchown(fd, info.st_uid, info.st_gid) != 0)
        return; /* then the server says that it cannot read it */
}

static enum status sync_dir(const char *dir, struct error_text *err)
{
    int fd = open(dir, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    enum status st = fd >= 0 && fsync(fd) == 0 ? ST_OK : errno_failure(dir, err);

    fd_close(&fd);
    return st;
}

/* Complete or not there at all: written beside, and then renamed. */
static enum status write_list(const char *dir, const struct paths *paths,
                              const struct key_list *list, struct error_text *err)
{
    struct buf text = BUF_INIT;
    enum status st = ST_OK;
    int fd = -1;

    if (!save(list, &text)) {
        buf_clear(&text);
        return error_set(err, ST_NO_MEMORY, "%s: out of memory", paths->file);
    }
    (void)unlink(paths->draft);
    fd = open(paths->draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        give_to_owner(fd, dir);
    if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len || fsync(fd) != 0 ||
        rename(paths->draft, paths->file) != 0)
        st = errno_failure(paths->draft, err);
    if (st == ST_OK)
        st = sync_dir(dir, err);
    fd_close(&fd);
    buf_clear(&text);
    return st;
}

/* What becomes of the keys; err names no file. */
struct change {
    enum status (*carry_out)(struct change *change, struct key_list *list,
                             struct error_text *err);
    const char *id_or_name;
    int64_t old_until_ms;
    struct key *key;
    char *text;
};

static enum status locked(const char *dir, const struct paths *paths,
                          struct change *change, struct error_text *err)
{
    struct key_list list;
    enum status st = key_file_read(dir, &list, err);

    if (st == ST_NOT_FOUND) { /* the first one makes it */
        list.keys = mem_alloc(sizeof(*list.keys));
        st = list.keys ? ST_OK : error_set(err, ST_NO_MEMORY, "out of memory");
    }
    if (st == ST_OK)
        st = change->carry_out(change, &list, err);
    if (st == ST_OK)
        st = write_list(dir, paths, &list, err);
    key_list_clear(&list);
    return st;
}

static enum status make_change(const char *dir, bool wait, struct change *change,
                               struct error_text *err)
{
    struct paths paths;
    enum status st = paths_of(dir, &paths, err);
    int fd;

    if (st != ST_OK)
        return st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return errno_failure(dir, err);
    fd = open(paths.lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno_failure(paths.lock, err);
    give_to_owner(fd, dir);
    if (flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0)
        st = locked(dir, &paths, change, err);
    else if (errno == EWOULDBLOCK)
        st = error_set(err, ST_BUSY, "%s: another program changes the keys", paths.file);
    else
        st = errno_failure(paths.lock, err);
    fd_close(&fd);
    return st;
}

/* ---- changes ----------------------------------------------------------------------- */

static enum status carry_out_add(struct change *change, struct key_list *list,
                                 struct error_text *err)
{
    enum status st;

    if (key_list_named(list, change->key->name))
        return error_set(err, ST_EXISTS, "there is a key named %s already",
                         change->key->name);
    if (list->count == KEYS_MAX)
        return error_set(err, ST_LIMIT, "there are %d keys already", KEYS_MAX);
    do
        st = key_make(change->key, change->text);
    while (st == ST_OK && key_list_find(list, change->key->id));
    if (st != ST_OK)
        return error_set(err, st, "there are no random numbers");
    list->keys[list->count++] = *change->key;
    return ST_OK;
}

static enum status no_such_key(const struct change *change, struct error_text *err)
{
    return error_set(err, ST_NOT_FOUND, "there is no key %.80s", change->id_or_name);
}

static enum status carry_out_rotate(struct change *change, struct key_list *list,
                                    struct error_text *err)
{
    struct key *key = key_list_named(list, change->id_or_name);
    enum status st;

    if (!key)
        return no_such_key(change, err);
    st = key_rotate(key, change->old_until_ms, change->text);
    if (st != ST_OK)
        return error_set(err, st, "there are no random numbers");
    *change->key = *key;
    return ST_OK;
}

static enum status carry_out_revoke(struct change *change, struct key_list *list,
                                    struct error_text *err)
{
    struct key *key = key_list_named(list, change->id_or_name);

    if (!key)
        return no_such_key(change, err);
    *change->key = *key;
    memmove(key, key + 1, (size_t)(list->keys + list->count - (key + 1)) * sizeof(*key));
    list->count--;
    return ST_OK;
}

enum status key_file_add(const char *dir, bool wait, struct key *key,
                         char ret_text[KEY_TEXT_LEN + 1], struct error_text *err)
{
    struct change change = { .carry_out = carry_out_add, .key = key, .text = ret_text };

    return make_change(dir, wait, &change, err);
}

enum status key_file_rotate(const char *dir, bool wait, const char *id_or_name,
                            int64_t old_until_ms, struct key *ret_key,
                            char ret_text[KEY_TEXT_LEN + 1], struct error_text *err)
{
    struct change change = { carry_out_rotate, id_or_name, old_until_ms, ret_key,
                             ret_text };

    return make_change(dir, wait, &change, err);
}

enum status key_file_revoke(const char *dir, bool wait, const char *id_or_name,
                            struct key *ret_key, struct error_text *err)
{
    struct change change = { .carry_out = carry_out_revoke,
                             .id_or_name = id_or_name,
                             .key = ret_key };

    return make_change(dir, wait, &change, err);
}
