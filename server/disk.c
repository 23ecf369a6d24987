/* SPDX-License-Identifier: MIT */
#include "server/disk.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

const char *const disk_level_names[DISK_LEVEL_COUNT] = {
    [DISK_ENOUGH] = "enough",
    [DISK_SHORT] = "short",
    [DISK_FULL] = "full",
};

/* ---- deciding ---------------------------------------------------------------------- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct disk_marks disk_marks(uint64_t total_bytes, uint64_t high, uint64_t low)
{
    struct disk_marks marks = { high, low };

    if (high == DISK_AUTO)
        marks.high = smaller(DISK_HIGH_BYTES, total_bytes / DISK_HIGH_DIVISOR);
    if (low == DISK_AUTO)
        marks.low = smaller(DISK_LOW_BYTES, total_bytes / DISK_LOW_DIVISOR);
    if (high == DISK_AUTO && marks.high < marks.low)
        marks.high = marks.low;
    return (struct disk_marks){ marks.high, smaller(marks.low, marks.high) };
}

bool disk_ballast_fits(uint64_t free_bytes, const struct disk_marks *marks)
{
    return marks->low > 0 && free_bytes / 5 * 2 >= marks->low; /* 2.5 times */
}

enum disk_level disk_judge(enum disk_level before, uint64_t free_bytes, bool ballast,
                           const struct disk_marks *marks)
{
    uint64_t reserved = ballast ? 0 : marks->low;
    uint64_t room = free_bytes > reserved ? free_bytes - reserved : 0;

    if (before == DISK_FULL && room < marks->low + marks->low / 2)
        return DISK_FULL;
    if (before != DISK_FULL && free_bytes < marks->low)
        return DISK_FULL;
    if (before != DISK_ENOUGH)
        return room < marks->high + marks->high / 8 ? DISK_SHORT : DISK_ENOUGH;
    return free_bytes < marks->high ? DISK_SHORT : DISK_ENOUGH;
}

/* ---- the ballast ------------------------------------------------------------------- */

/* Zeros where the file system cannot set room aside. */
static bool fill(int fd, uint64_t bytes)
{
    static const char zeros[1 << 16];

    if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
        return true;
    if (errno != EOPNOTSUPP)
        return false;
    while (bytes > 0) {
        ssize_t written = write(fd, zeros, smaller(bytes, sizeof(zeros)));

        if (written <= 0)
            return false;
        bytes -= (uint64_t)written;
    }
    return true;
}

static bool ballast_make(int dir, uint64_t bytes)
{
    int fd = openat(dir, DISK_BALLAST_NAME,
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool made = fd >= 0 && fill(fd, bytes);

    if (fd >= 0 && !made)
        (void)unlinkat(dir, DISK_BALLAST_NAME, 0);
    fd_close(&fd);
    return made;
}

bool disk_release_ballast(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool released = fd >= 0 && unlinkat(fd, DISK_BALLAST_NAME, 0) == 0;

    fd_close(&fd);
    return released;
}

/* ---- watching ---------------------------------------------------------------------- */

struct disk {
    uv_async_t async; /* the level has changed */
    void (*on_change)(void *data, enum disk_level level);
    void *data;
    enum disk_level told;
    int dir;
    uint64_t high, low; /* settings */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t closing_said;
    bool closing;
    struct disk_info info;
};

/* What this look says; the ballast follows. Blocks as long as the file system does. */
static void look(struct disk *disk)
{
    struct disk_info info;
    struct statvfs volume;
    struct stat ballast;
    enum disk_level before;

    disk_get_info(disk, &info);
    before = info.level;
    info.looks++;
    if (fstatvfs(disk->dir, &volume) != 0 || volume.f_blocks == 0) {
        info.looks_failed++; /* it says nothing: the level stays */
    } else {
        info.free_bytes = (uint64_t)volume.f_bavail * volume.f_frsize;
        info.total_bytes = (uint64_t)volume.f_blocks * volume.f_frsize;
        info.marks = disk_marks(info.total_bytes, disk->high, disk->low);
        info.ballast_bytes =
            fstatat(disk->dir, DISK_BALLAST_NAME, &ballast, AT_SYMLINK_NOFOLLOW) == 0
                ? (uint64_t)ballast.st_size
                : 0;
        info.level =
            disk_judge(before, info.free_bytes, info.ballast_bytes > 0, &info.marks);
        if (info.level == DISK_FULL && info.ballast_bytes > 0) {
            if (unlinkat(disk->dir, DISK_BALLAST_NAME, 0) == 0)
                info.ballast_bytes = 0;
        } else if (info.level != DISK_FULL && info.ballast_bytes == 0 &&
                   disk_ballast_fits(info.free_bytes, &info.marks) &&
                   ballast_make(disk->dir, info.marks.low)) {
            info.ballast_bytes = info.marks.low;
        }
    }
    info.shorts += info.level == DISK_SHORT && before != DISK_SHORT;
    info.fulls += info.level == DISK_FULL && before != DISK_FULL;
    pthread_mutex_lock(&disk->lock);
    disk->info = info;
    pthread_mutex_unlock(&disk->lock);
    if (info.level != before)
        (void)uv_async_send(&disk->async);
}

static void *watch_main(void *data)
{
    struct disk *disk = data;
    struct timespec until;

    pthread_mutex_lock(&disk->lock);
    while (!disk->closing) {
        int waited = 0;

        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += DISK_PERIOD_MS / 1000;
        while (!disk->closing && waited == 0)
            waited = pthread_cond_timedwait(&disk->closing_said, &disk->lock, &until);
        if (disk->closing)
            break;
        pthread_mutex_unlock(&disk->lock);
        look(disk);
        pthread_mutex_lock(&disk->lock);
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

static void tell(struct disk *disk)
{
    struct disk_info info;

    disk_get_info(disk, &info);
    if (info.level == disk->told)
        return;
    if (info.level == DISK_ENOUGH)
        log_info("there is room on the disk again", "free_bytes=%llu",
                 (unsigned long long)info.free_bytes);
    else
        log_warn(
            info.level == DISK_FULL
                ? "the disk is full: no jobs are taken, and no work is handed out"
                : "the disk is nearly full: no jobs are taken that have to be stored",
            "free_bytes=%llu disk_low=%llu disk_high=%llu",
            (unsigned long long)info.free_bytes, (unsigned long long)info.marks.low,
            (unsigned long long)info.marks.high);
    disk->told = info.level;
    disk->on_change(disk->data, info.level);
}

static void on_async(uv_async_t *async)
{
    tell(async->data);
}

void disk_get_info(struct disk *disk, struct disk_info *ret_info)
{
    pthread_mutex_lock(&disk->lock);
    *ret_info = disk->info;
    pthread_mutex_unlock(&disk->lock);
}

/* ---- life cycle -------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct disk *disk = handle->data;

    fd_close(&disk->dir);
    (void)pthread_cond_destroy(&disk->closing_said);
    (void)pthread_mutex_destroy(&disk->lock);
    mem_free(disk);
}

enum status disk_open(uv_loop_t *loop, const char *dir, uint64_t high, uint64_t low,
                      void (*on_change)(void *data, enum disk_level level), void *data,
                      struct disk **ret_disk, struct error_text *err)
{
    struct disk *disk = mem_zalloc(sizeof(*disk));
    pthread_condattr_t monotonic;

    if (!disk)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    disk->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (disk->dir < 0 || uv_async_init(loop, &disk->async, on_async) != 0) {
        (void)error_set(err, ST_IO, "%s: its free space cannot be watched: %s", dir,
                        strerror(errno));
        fd_close(&disk->dir);
        mem_free(disk);
        return ST_IO;
    }
    disk->async.data = disk;
    disk->on_change = on_change;
    disk->data = data;
    disk->high = high;
    disk->low = low;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&disk->lock, NULL);
    (void)pthread_cond_init(&disk->closing_said, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    look(disk);
    disk->started = pthread_create(&disk->thread, NULL, watch_main, disk) == 0;
    if (!disk->started) {
        disk_close(disk);
        return error_set(err, ST_NO_MEMORY,
                         "the thread that watches the disk cannot be started");
    }
    *ret_disk = disk;
    tell(disk);
    return ST_OK;
}

void disk_close(struct disk *disk)
{
    if (!disk)
        return;
    pthread_mutex_lock(&disk->lock);
    disk->closing = true;
    (void)pthread_cond_signal(&disk->closing_said);
    pthread_mutex_unlock(&disk->lock);
    if (disk->started)
        (void)pthread_join(disk->thread, NULL);
    uv_close((uv_handle_t *)&disk->async, on_closed);
}
