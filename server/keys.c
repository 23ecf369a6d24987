/* SPDX-License-Identifier: MIT */
#include "server/keys.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/key_file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* How a key is used. The bucket fills by `rate` in a second and holds as many: so in the first
 * moment as many requests may come as then in each second. */
struct use {
    double tokens;
    uint64_t filled_ns; /* CLOCK_MONOTONIC; 0: it is full */
    uint64_t requests;  /* that have begun and are not over */
};

struct keys {
    uv_timer_t timer;
    struct key_list list;
    struct use *uses; /* as the list has them */
    bool required;
    struct stat seen; /* of the file when it was read; all zero: it was not there */
    char path[PATH_MAX];
    char dir[];
};

/* ---- the file ---------------------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* The keys are these from now on; takes the list. The use of those that stay goes on, but that
 * a new rate begins with a full bucket. */
static enum status take_over(struct keys *keys, struct key_list *list)
{
    struct use *uses = mem_zalloc((list->count + 1) * sizeof(*uses));

    if (!uses)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < list->count; i++) {
        const struct key *before = key_list_find(&keys->list, list->keys[i].id);

        if (!before)
            continue;
        uses[i] = keys->uses[before - keys->list.keys];
        if (before->rate != list->keys[i].rate)
            uses[i].filled_ns = 0;
    }
    mem_free(keys->uses);
    key_list_clear(&keys->list);
    keys->uses = uses;
    keys->list = *list;
    *list = (struct key_list){ NULL, 0 };
    return ST_OK;
}

/* The file that `seen` was told of before is read. */
static enum status read_file(struct keys *keys, const struct stat *seen,
                             struct error_text *err)
{
    struct key_list list;
    enum status st = key_file_read(keys->dir, &list, err);

    if (st == ST_NOT_FOUND)
        st = ST_OK;
    else if (st == ST_OK)
        keys->required = true;
    if (st == ST_OK)
        st = take_over(keys, &list);
    if (st == ST_NO_MEMORY)
        (void)error_set(err, st, "%s: out of memory", keys->path);
    key_list_clear(&list);
    keys->seen = *seen;
    return st;
}

void keys_look(struct keys *keys)
{
    struct error_text err = { "" };
    struct stat now;

    if (stat(keys->path, &now) != 0)
        memset(&now, 0, sizeof(now));
    if (same_file(&now, &keys->seen))
        return;
    if (read_file(keys, &now, &err) != ST_OK)
        log_error("the keys stay as they are", "error=\"%s\"", err.text);
    else
        log_info("keys have changed", "keys=%zu", keys->list.count);
}

static void on_timer(uv_timer_t *timer)
{
    keys_look(timer->data);
}

/* ---- life -------------------------------------------------------------------------- */

enum status keys_new(uv_loop_t *loop, const char *dir, struct keys **ret_keys,
                     struct error_text *err)
{
    struct keys *keys = mem_zalloc(sizeof(*keys) + strlen(dir) + 1);
    struct stat seen;
    enum status st;

    if (!keys)
        return error_set(err, ST_NO_MEMORY, "keys: out of memory");
    memcpy(keys->dir, dir, strlen(dir) + 1);
    if ((size_t)snprintf(keys->path, sizeof(keys->path), "%s/" KEY_FILE_NAME, dir) >=
        sizeof(keys->path)) {
        mem_free(keys);
        return error_set(err, ST_INVALID, "%.80s...: the path is too long", dir);
    }
    if (stat(keys->path, &seen) != 0)
        memset(&seen, 0, sizeof(seen));
    st = read_file(keys, &seen, err);
    if (st != ST_OK) {
        mem_free(keys->uses);
        mem_free(keys);
        return st;
    }
    (void)uv_timer_init(loop, &keys->timer);
    keys->timer.data = keys;
    (void)uv_timer_start(&keys->timer, on_timer, KEYS_LOOK_MS, KEYS_LOOK_MS);
    *ret_keys = keys;
    return ST_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct keys *keys = handle->data;

    key_list_clear(&keys->list);
    mem_free(keys->uses);
    mem_free(keys);
}

void keys_free(struct keys *keys)
{
    if (keys)
        uv_close((uv_handle_t *)&keys->timer, on_closed);
}

const char *keys_dir(const struct keys *keys)
{
    return keys->dir;
}

/* ---- requests ---------------------------------------------------------------------- */

bool keys_required(const struct keys *keys)
{
    return keys->required;
}

const struct key *keys_find(const struct keys *keys, uint64_t id)
{
    return key_list_find(&keys->list, id);
}

const struct key *keys_verify(const struct keys *keys, const char *text)
{
    struct key_claim claim;
    const struct key *key;
    bool holds;

    if (key_read(text, &claim) != ST_OK)
        return NULL;
    key = keys_find(keys, claim.id);
    holds = key_holds(key, &claim, clock_wall_ms());
    explicit_bzero(&claim, sizeof(claim));
    return holds ? key : NULL;
}

bool keys_take(struct keys *keys, const struct key *key, struct allowance *ret_allowance)
{
    struct use *bucket = &keys->uses[key - keys->list.keys];
    double rate = (double)key->rate;
    uint64_t now_ns;
    bool taken;

    *ret_allowance = (struct allowance){ .rate = key->rate };
    if (!key->rate)
        return true;
    now_ns = clock_mono_ns();
    if (bucket->filled_ns)
        bucket->tokens +=
            rate * (double)(now_ns - bucket->filled_ns) / (double)NS_PER_SEC;
    if (!bucket->filled_ns || bucket->tokens > rate)
        bucket->tokens = rate;
    bucket->filled_ns = now_ns;
    taken = bucket->tokens >= 1;
    bucket->tokens -= taken ? 1 : 0;
    ret_allowance->remaining = (uint64_t)bucket->tokens;
    ret_allowance->reset_s = 1; /* a second fills it, and one token comes in less */
    return taken;
}

bool keys_begin(struct keys *keys, const struct key *key, uint64_t max)
{
    struct use *use = &keys->uses[key - keys->list.keys];

    if (use->requests >= max)
        return false;
    use->requests++;
    return true;
}

void keys_end(struct keys *keys, uint64_t id)
{
    const struct key *key = keys_find(keys, id);

    if (key)
        keys->uses[key - keys->list.keys].requests--;
}
