/* SPDX-License-Identifier: MIT */
/*
 * sim_disk - a disk under SQLite that remembers every change and fails on demand.
 *
 * A VFS over SQLite's "unix", registered as the default one. What the store itself does
 * to its directory (open, rename, unlink, fsync, mkdir) comes here too: the linker puts
 * sim_disk's functions in their place (--wrap, see tests/CMakeLists.txt).
 *
 * Recording. Every change of a file below one directory becomes an entry of a log, in the
 * order in which it was made:
 *
 *     write truncate                 to a file; in the cache until it is synced
 *     sync                           what was done to this file is on the disk
 *     create rename remove           of a name; in the cache until the directory is synced
 *     syncdir                        the names are on the disk
 *
 * disk_image() makes the directory as a power cut after the first `cut` entries may have
 * left it: what was synced by then, and of the rest whatever the seed says. The -shm file
 * is not persistent, so it is not recorded; an image may hold one full of nonsense.
 *
 * Faults. disk_fail() makes the n-th call of a kind fail, once or from then on.
 *
 * Time. Waits of the store's threads end by themselves where that is needed: see
 * disk_idle().
 */
#ifndef TESTS_FAULT_SIM_DISK_H
#define TESTS_FAULT_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_SECTOR 512

/* Once, before anything else uses SQLite. Told of what somebody may wait for, on any
 * thread: a sync that is held, a pause before another try, an end of idleness. */
void disk_init(void (*on_news)(void));
/* Files are opened without it from here on, as in the server; or with it again. */
void disk_plain(bool plain);

/* ---- recording -------------------------------------------------------------------- */

/* Begins a log with what is in this directory now, all of it on the disk. */
void disk_record(const char *dir);
/* Ends it; the log stays, to be looked at, until the next one begins. */
void disk_stop(void);
size_t disk_log_len(void);
/* Whether this entry is a sync, of a file or of the directory. */
bool disk_log_syncs(size_t entry);
/* Fills `dir`, which is empty, with what a power cut may have left. */
void disk_image(size_t cut, uint64_t seed, const char *dir);
/* Syncs are forgotten from here on: a disk that says that it has written what it has not.
 * To see that the tests notice. */
void disk_lies(bool lies);

/* ---- faults ----------------------------------------------------------------------- */

enum disk_call {
    DISK_WRITE,
    DISK_SYNC,
    DISK_TRUNCATE,
    DISK_OPEN,
    DISK_READ,
    DISK_SHM,    /* of the index of the WAL in shared memory */
    DISK_SYSTEM, /* what the store itself does: open, rename, fsync, mkdir, flock */
    DISK_CALL_COUNT
};
extern const char *const disk_call_names[DISK_CALL_COUNT];

enum disk_error {
    DISK_EIO,
    DISK_ENOSPC,
    DISK_SHORT, /* of a write: half of it is done, then there is no space */
    DISK_ERROR_COUNT
};
extern const char *const disk_error_names[DISK_ERROR_COUNT];

/* The n-th call of this kind from now on fails, and if sticky all after it too; n 0: none
 * does. */
void disk_fail(enum disk_call call, enum disk_error error, unsigned n, bool sticky);
/* Whether a call has failed since one was last to. */
bool disk_failed(void);

/* ---- time ------------------------------------------------------------------------- */

/* A wait with a limit of less than DISK_SOON_MS is for more commands, and over at once. A
 * longer one is a pause before another try, and over at once, too; one of more than
 * DISK_PAUSE_MS waits for idleness, which comes only while the test says so. */
#define DISK_SOON_MS  100
#define DISK_PAUSE_MS 1500
void disk_idle(bool idle);
unsigned disk_pauses(void); /* since the start */
unsigned disk_idles(void);  /* ends of idleness, since the start */
/* Truncations of a file to nothing, since the start: what ends an idle WAL. */
unsigned disk_emptied(void);

/* The next sync stops until it is released. */
void disk_hold(void);
bool disk_held(void); /* one has stopped */
void disk_release(void);

#endif
