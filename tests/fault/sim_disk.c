/* SPDX-License-Identifier: MIT */
#include "tests/fault/sim_disk.h"

#include "tests/fault/sim_log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *const disk_call_names[DISK_CALL_COUNT] = {
    [DISK_WRITE] = "write",   [DISK_SYNC] = "sync", [DISK_TRUNCATE] = "truncate",
    [DISK_OPEN] = "open",     [DISK_READ] = "read", [DISK_SHM] = "shm",
    [DISK_SYSTEM] = "system",
};

const char *const disk_error_names[DISK_ERROR_COUNT] = {
    [DISK_EIO] = "EIO",
    [DISK_ENOSPC] = "ENOSPC",
    [DISK_SHORT] = "short",
};

struct sim_file {
    sqlite3_file base;
    char name[128];  /* without the directory; "" when it is not recorded */
    bool makes_name; /* its first sync is one of the directory, too */
    sqlite3_file *below;
};

static sqlite3_vfs *unix_vfs;
static void (*on_news)(void);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char recorded[256]; /* the directory; "" when there is none */
static bool lies;

/* ---- faults ----------------------------------------------------------------------- */

static atomic_int fail_call = DISK_CALL_COUNT;
static enum disk_error fail_error;
static bool fail_sticky;
static atomic_uint fail_left; /* calls until the one that fails */
static atomic_bool fail_done;

void disk_fail(enum disk_call call, enum disk_error error, unsigned n, bool sticky)
{
    atomic_store(&fail_call, DISK_CALL_COUNT);
    if (n == 0)
        return;
    fail_error = error;
    fail_sticky = sticky;
    atomic_store(&fail_left, n);
    atomic_store(&fail_done, false);
    atomic_store(&fail_call, (int)call);
}

bool disk_failed(void)
{
    return atomic_load(&fail_done);
}

static bool must_fail(enum disk_call call)
{
    bool now;

    if (atomic_load(&fail_call) != (int)call)
        return false;
    if (atomic_load(&fail_done))
        return fail_sticky;
    now = atomic_fetch_sub(&fail_left, 1) == 1;
    if (now)
        atomic_store(&fail_done, true);
    return now;
}

/* Gives rc, with errno as the system would have it. */
static int fault(int rc)
{
    errno = fail_error == DISK_EIO ? EIO : ENOSPC;
    return rc;
}

/* ---- a held sync ------------------------------------------------------------------ */

static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static bool holding, held; /* under lock */

void disk_hold(void)
{
    pthread_mutex_lock(&lock);
    holding = true;
    pthread_mutex_unlock(&lock);
}

bool disk_held(void)
{
    bool is;

    pthread_mutex_lock(&lock);
    is = held;
    pthread_mutex_unlock(&lock);
    return is;
}

void disk_release(void)
{
    pthread_mutex_lock(&lock);
    holding = held = false;
    pthread_cond_broadcast(&released);
    pthread_mutex_unlock(&lock);
}

static void wait_if_held(void)
{
    pthread_mutex_lock(&lock);
    if (holding && !held) {
        held = true;
        on_news();
        while (held)
            pthread_cond_wait(&released, &lock);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- recording -------------------------------------------------------------------- */

/* The name below the recorded directory, or NULL. */
static const char *recorded_name(const char *path)
{
    size_t len = strlen(recorded);

    if (!path || !len || strncmp(path, recorded, len) != 0 || path[len] != '/')
        return NULL;
    path += len + 1;
    if (strchr(path, '/') || strstr(path, "-shm") || strstr(path, ".lock"))
        return NULL;
    return path;
}

static void note(struct sim_entry entry)
{
    pthread_mutex_lock(&lock);
    if (recorded[0] && !(lies && (entry.op == SIM_SYNC || entry.op == SIM_SYNCDIR)))
        sim_log_add(&entry);
    pthread_mutex_unlock(&lock);
}

void disk_record(const char *dir)
{
    pthread_mutex_lock(&lock);
    assert(strlen(dir) < sizeof(recorded));
    strcpy(recorded, dir);
    sim_log_begin(dir);
    pthread_mutex_unlock(&lock);
}

void disk_stop(void)
{
    pthread_mutex_lock(&lock);
    recorded[0] = '\0';
    pthread_mutex_unlock(&lock);
}

size_t disk_log_len(void)
{
    size_t len;

    pthread_mutex_lock(&lock);
    len = sim_log_len();
    pthread_mutex_unlock(&lock);
    return len;
}

bool disk_log_syncs(size_t entry)
{
    enum sim_op op = sim_log_op(entry);

    return op == SIM_SYNC || op == SIM_SYNCDIR;
}

void disk_image(size_t cut, uint64_t seed, const char *dir)
{
    sim_log_image(cut, seed, dir);
}

void disk_lies(bool now)
{
    lies = now;
}

/* ---- files ------------------------------------------------------------------------ */

static atomic_uint emptied;

unsigned disk_emptied(void)
{
    return atomic_load(&emptied);
}

static struct sim_file *sim_of(sqlite3_file *file)
{
    return (struct sim_file *)file;
}

static int sim_close(sqlite3_file *file)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xClose(sim->below);
}

static int sim_read(sqlite3_file *file, void *to, int len, sqlite3_int64 at)
{
    struct sim_file *sim = sim_of(file);

    if (must_fail(DISK_READ))
        return fault(SQLITE_IOERR_READ);
    return sim->below->pMethods->xRead(sim->below, to, len, at);
}

static int sim_write(sqlite3_file *file, const void *from, int len, sqlite3_int64 at)
{
    struct sim_file *sim = sim_of(file);
    bool fails = must_fail(DISK_WRITE);
    int rc;

    if (fails && fail_error != DISK_SHORT)
        return fault(fail_error == DISK_EIO ? SQLITE_IOERR_WRITE : SQLITE_FULL);
    if (fails)
        len /= 2;
    rc = sim->below->pMethods->xWrite(sim->below, from, len, at);
    if (rc == SQLITE_OK && sim->name[0])
        note((struct sim_entry){ .op = SIM_WRITE,
                                 .name = sim->name,
                                 .at = (uint64_t)at,
                                 .bytes = from,
                                 .len = (size_t)len });
    return fails && rc == SQLITE_OK ? fault(SQLITE_FULL) : rc;
}

static int sim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct sim_file *sim = sim_of(file);
    int rc;

    if (must_fail(DISK_TRUNCATE))
        return fault(SQLITE_IOERR_TRUNCATE);
    rc = sim->below->pMethods->xTruncate(sim->below, size);
    if (rc == SQLITE_OK && sim->name[0])
        note((struct sim_entry){
            .op = SIM_TRUNCATE, .name = sim->name, .at = (uint64_t)size });
    if (size == 0) {
        atomic_fetch_add(&emptied, 1);
        on_news();
    }
    return rc;
}

/* Not passed on: only the log has to know, and the tests take a tenth of the time. */
static int sim_sync(sqlite3_file *file, int flags)
{
    struct sim_file *sim = sim_of(file);

    (void)flags;
    wait_if_held();
    if (must_fail(DISK_SYNC))
        return fault(SQLITE_IOERR_FSYNC);
    if (!sim->name[0])
        return SQLITE_OK;
    note((struct sim_entry){ .op = SIM_SYNC, .name = sim->name });
    if (sim->makes_name)
        note((struct sim_entry){ .op = SIM_SYNCDIR });
    sim->makes_name = false;
    return SQLITE_OK;
}

static int sim_file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xFileSize(sim->below, ret_size);
}

static int sim_lock(sqlite3_file *file, int level)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xLock(sim->below, level);
}

static int sim_unlock(sqlite3_file *file, int level)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xUnlock(sim->below, level);
}

static int sim_check_reserved(sqlite3_file *file, int *ret_reserved)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xCheckReservedLock(sim->below, ret_reserved);
}

static int sim_control(sqlite3_file *file, int op, void *arg)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xFileControl(sim->below, op, arg);
}

static int sim_sector_size(sqlite3_file *file)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xSectorSize(sim->below);
}

static int sim_characteristics(sqlite3_file *file)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xDeviceCharacteristics(sim->below);
}

static int sim_shm_map(sqlite3_file *file, int page, int size, int extend,
                       void volatile **ret_at)
{
    struct sim_file *sim = sim_of(file);

    if (must_fail(DISK_SHM))
        return fault(fail_error == DISK_EIO ? SQLITE_IOERR_SHMMAP : SQLITE_IOERR_SHMSIZE);
    return sim->below->pMethods->xShmMap(sim->below, page, size, extend, ret_at);
}

static int sim_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xShmLock(sim->below, offset, n, flags);
}

static void sim_shm_barrier(sqlite3_file *file)
{
    struct sim_file *sim = sim_of(file);

    sim->below->pMethods->xShmBarrier(sim->below);
}

static int sim_shm_unmap(sqlite3_file *file, int remove)
{
    struct sim_file *sim = sim_of(file);

    return sim->below->pMethods->xShmUnmap(sim->below, remove);
}

/* Version 2: without the functions that map the database itself. */
static const sqlite3_io_methods sim_methods = {
    .iVersion = 2,
    .xClose = sim_close,
    .xRead = sim_read,
    .xWrite = sim_write,
    .xTruncate = sim_truncate,
    .xSync = sim_sync,
    .xFileSize = sim_file_size,
    .xLock = sim_lock,
    .xUnlock = sim_unlock,
    .xCheckReservedLock = sim_check_reserved,
    .xFileControl = sim_control,
    .xSectorSize = sim_sector_size,
    .xDeviceCharacteristics = sim_characteristics,
    .xShmMap = sim_shm_map,
    .xShmLock = sim_shm_lock,
    .xShmBarrier = sim_shm_barrier,
    .xShmUnmap = sim_shm_unmap,
};

/* ---- the VFS ---------------------------------------------------------------------- */

static int sim_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                    int *ret_flags)
{
    struct sim_file *sim = sim_of(file);
    const char *name = recorded_name(path);
    int rc;

    (void)vfs;
    memset(sim, 0, sizeof(*sim));
    sim->below = (sqlite3_file *)(sim + 1);
    if (must_fail(DISK_OPEN))
        return fault(SQLITE_CANTOPEN);
    rc = unix_vfs->xOpen(unix_vfs, path, sim->below, flags, ret_flags);
    if (rc != SQLITE_OK)
        return rc;
    file->pMethods = &sim_methods;
    if (!name)
        return SQLITE_OK;
    assert(strlen(name) < sizeof(sim->name));
    strcpy(sim->name, name);
    /* As unix_vfs has it: a journal is as good as its name. */
    sim->makes_name = (flags & SQLITE_OPEN_CREATE) &&
                      (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL |
                                SQLITE_OPEN_SUPER_JOURNAL));
    if (flags & SQLITE_OPEN_CREATE)
        note((struct sim_entry){ .op = SIM_CREATE, .name = name });
    return SQLITE_OK;
}

static int sim_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    int rc = unix_vfs->xDelete(unix_vfs, path, 0);
    const char *name = recorded_name(path);

    (void)vfs;
    if (rc == SQLITE_OK && name)
        note((struct sim_entry){ .op = SIM_REMOVE, .name = name });
    if (rc == SQLITE_OK && name && sync_dir)
        note((struct sim_entry){ .op = SIM_SYNCDIR });
    return rc;
}

/* The same numbers each time, so that a run can be repeated. */
static int sim_randomness(sqlite3_vfs *vfs, int len, char *to)
{
    (void)vfs;
    for (int i = 0; i < len; i++)
        to[i] = (char)(i * 37 + 11);
    return len;
}

void disk_init(void (*news)(void))
{
    static sqlite3_vfs sim;

    on_news = news;
    sqlite3_initialize();
    unix_vfs = sqlite3_vfs_find("unix");
    assert(unix_vfs);
    sim = *unix_vfs;
    sim.zName = "sim";
    sim.pNext = NULL;
    sim.szOsFile = (int)sizeof(struct sim_file) + unix_vfs->szOsFile;
    sim.xOpen = sim_open;
    sim.xDelete = sim_delete;
    sim.xRandomness = sim_randomness;
    sqlite3_vfs_register(&sim, 1);
}

void disk_plain(bool plain)
{
    sqlite3_vfs_register(plain ? unix_vfs : sqlite3_vfs_find("sim"), 1);
}

/* ---- what the store does by itself ------------------------------------------------ */

int __real_open(const char *path, int flags, ...);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __real_mkdir(const char *path, mode_t mode);
int __real_flock(int fd, int operation);
int __wrap_open(const char *path, int flags, ...);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_flock(int fd, int operation);

static bool system_fails(void)
{
    if (!must_fail(DISK_SYSTEM))
        return false;
    (void)fault(0);
    return true;
}

int __wrap_open(const char *path, int flags, ...)
{
    const char *name = recorded_name(path);
    va_list args;
    mode_t mode;
    int fd;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (system_fails())
        return -1;
    fd = __real_open(path, flags, mode);
    if (fd >= 0 && (flags & O_CREAT) && name)
        note((struct sim_entry){ .op = SIM_CREATE, .name = name });
    return fd;
}

int __wrap_fsync(int fd)
{
    char link[64], path[512];
    const char *name;
    ssize_t len;

    if (system_fails())
        return -1;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof(path) - 1);
    assert(len > 0);
    path[len] = '\0';
    name = recorded_name(path);
    if (name)
        note((struct sim_entry){ .op = SIM_SYNC, .name = name });
    else if (strcmp(path, recorded) == 0)
        note((struct sim_entry){ .op = SIM_SYNCDIR });
    return 0;
}

int __wrap_rename(const char *from, const char *to)
{
    if (system_fails() || __real_rename(from, to) != 0)
        return -1;
    if (recorded_name(from) && recorded_name(to))
        note((struct sim_entry){
            .op = SIM_RENAME, .name = recorded_name(from), .to = recorded_name(to) });
    return 0;
}

int __wrap_unlink(const char *path)
{
    int rc = __real_unlink(path);

    if (rc == 0 && recorded_name(path))
        note((struct sim_entry){ .op = SIM_REMOVE, .name = recorded_name(path) });
    return rc;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return system_fails() ? -1 : __real_mkdir(path, mode);
}

int __wrap_flock(int fd, int operation)
{
    return system_fails() ? -1 : __real_flock(fd, operation);
}

/* ---- time ------------------------------------------------------------------------- */

#define SLICE_NS 1000000 /* until it is looked whether the test wants idleness */

static atomic_bool idle;
static atomic_uint pauses, idles;

void disk_idle(bool now)
{
    atomic_store(&idle, now);
}

unsigned disk_pauses(void)
{
    return atomic_load(&pauses);
}

unsigned disk_idles(void)
{
    return atomic_load(&idles);
}

int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);

static int64_t ns_between(const struct timespec *from, const struct timespec *to)
{
    return (int64_t)(to->tv_sec - from->tv_sec) * 1000000000 + to->tv_nsec -
           from->tv_nsec;
}

/* Time does not pass for who waits: what kind of wait it is stays as it was at its
 * beginning, which is known by the moment until which it goes. */
static int64_t kind_ms(const struct timespec *until)
{
    static _Thread_local struct timespec known_until;
    static _Thread_local int64_t known_ms;
    struct timespec now;

    if (known_until.tv_sec != until->tv_sec || known_until.tv_nsec != until->tv_nsec) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        known_until = *until;
        known_ms = ns_between(&now, until) / 1000000;
    }
    return known_ms;
}

/* The conditions of the store go by CLOCK_MONOTONIC. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    int64_t ms = kind_ms(until);
    struct timespec slice;

    if (ms < DISK_SOON_MS)
        return ETIMEDOUT;
    if (ms < DISK_PAUSE_MS) {
        atomic_fetch_add(&pauses, 1);
        on_news();
        return ETIMEDOUT;
    }
    if (atomic_load(&idle)) {
        atomic_fetch_add(&idles, 1);
        on_news();
        return ETIMEDOUT;
    }
    clock_gettime(CLOCK_MONOTONIC, &slice);
    slice.tv_nsec += SLICE_NS;
    if (slice.tv_nsec >= 1000000000) {
        slice.tv_nsec -= 1000000000;
        slice.tv_sec++;
    }
    (void)__real_pthread_cond_timedwait(cond, mutex, &slice);
    return 0; /* as if woken for nothing: the caller looks, and waits again */
}
