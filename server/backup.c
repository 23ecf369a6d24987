/* SPDX-License-Identifier: MIT */
#include "server/backup.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/store.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct backup {
    uv_async_t async; /* the thread is through */
    const char *dir, *folder;
    struct backup_info info;

    /* Of the copy that is under way. */
    char name[BACKUP_NAME_MAX + 1];
    backup_done *done;
    void *data;
    int64_t started_at_ms;
    uint64_t started_ns;
    pthread_t thread;
    atomic_bool stop;

    /* The thread's until it is through. */
    char *path;
    enum status st;
    uint64_t bytes;
    struct error_text why;
};

bool backup_name_valid(struct text name)
{
    if (!name.len || name.len > BACKUP_NAME_MAX || name.at[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') &&
            c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

static void *copy_main(void *data)
{
    struct backup *backup = data;

    backup->st = store_copy_sqlite(backup->dir, backup->path, &backup->stop,
                                   &backup->bytes, &backup->why);
    (void)uv_async_send(&backup->async);
    return NULL;
}

/* Joins the thread, and tells what has come of the copy. */
static void finish(struct backup *backup)
{
    struct backup_made made;
    bool good;

    (void)pthread_join(backup->thread, NULL);
    good = backup->st == ST_OK;
    made = (struct backup_made){
        .name = backup->name,
        .bytes = backup->bytes,
        .started_at_ms = backup->started_at_ms,
        .seconds = (double)(clock_mono_ns() - backup->started_ns) / (double)NS_PER_SEC,
    };
    backup->info.running = false;
    if (good) {
        backup->info.made++;
        backup->info.last_made_at_ms = made.started_at_ms;
        backup->info.last_bytes = made.bytes;
        log_info("backup made", "file=%s bytes=%llu seconds=%.3f", backup->path,
                 (unsigned long long)made.bytes, made.seconds);
    } else {
        backup->info.failed++;
        log_error("backup failed", "error=\"%s\"", backup->why.text);
    }
    mem_free(backup->path);
    backup->path = NULL;
    backup->done(backup->data, backup->st, good ? &made : NULL, &backup->why);
}

static void on_async(uv_async_t *async)
{
    struct backup *backup = async->data;

    if (backup->info.running)
        finish(backup);
}

enum status backup_start(struct backup *backup, struct text name, backup_done *done,
                         void *data)
{
    size_t folder_len = strlen(backup->folder);

    assert(backup_name_valid(name));
    if (backup->info.running)
        return ST_BUSY;
    backup->path = mem_alloc(folder_len + 1 + name.len + 1);
    if (!backup->path)
        return ST_NO_MEMORY;
    memcpy(backup->name, name.at, name.len);
    backup->name[name.len] = '\0';
    memcpy(backup->path, backup->folder, folder_len);
    backup->path[folder_len] = '/';
    strcpy(backup->path + folder_len + 1, backup->name);
    backup->done = done;
    backup->data = data;
    backup->started_at_ms = clock_wall_ms();
    backup->started_ns = clock_mono_ns();
    backup->why = (struct error_text){ "" };
    atomic_store(&backup->stop, false);
    if (pthread_create(&backup->thread, NULL, copy_main, backup) != 0) {
        mem_free(backup->path);
        backup->path = NULL;
        return ST_NO_MEMORY;
    }
    backup->info.running = true;
    return ST_OK;
}

void backup_get_info(const struct backup *backup, struct backup_info *ret_info)
{
    *ret_info = backup->info;
}

enum status backup_new(uv_loop_t *loop, const char *dir, const char *folder,
                       struct backup **ret_backup)
{
    struct backup *backup = mem_zalloc(sizeof(*backup));

    if (!backup)
        return ST_NO_MEMORY;
    if (uv_async_init(loop, &backup->async, on_async) != 0) {
        mem_free(backup);
        return ST_NO_MEMORY;
    }
    backup->async.data = backup;
    backup->dir = dir;
    backup->folder = folder;
    atomic_init(&backup->stop, false);
    *ret_backup = backup;
    return ST_OK;
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void backup_free(struct backup *backup)
{
    if (!backup)
        return;
    atomic_store(&backup->stop, true);
    if (backup->info.running)
        finish(backup);
    uv_close((uv_handle_t *)&backup->async, on_closed);
}
