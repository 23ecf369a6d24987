/* SPDX-License-Identifier: MIT */
/*
 * disk - how much room there is where the data is, and what that means for jobs.
 *
 *     free space
 *          |  DISK_ENOUGH  everything goes on
 *     high +--------------------------------------------------------------------
 *          |  DISK_SHORT   new jobs that would have to be stored are refused; what there
 *          |               is runs, and its results are stored
 *      low +--------------------------------------------------------------------
 *          |  DISK_FULL    no work is handed out, either; the ballast is deleted
 *        0
 *
 * The ballast is a file that does nothing but take up room, as much as `low`. On a disk that
 * is full SQLite can neither delete rows nor open the database; the room of the ballast
 * stores the results of what still runs, and lets a server start.
 *
 * A level ends when there is noticeably more room than where it began, so that it does not
 * come and go with each file: see disk_judge. The ballast is made again then.
 *
 * The free space is asked for each second by a thread of its own, as a file system may take
 * long to answer, and the loop must not.
 */
#ifndef SERVER_DISK_H
#define SERVER_DISK_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define DISK_PERIOD_MS 1000
/* As a setting: these many bytes, or this part of the volume if that is less. */
#define DISK_AUTO         UINT64_MAX
#define DISK_HIGH_BYTES   (256ull << 20)
#define DISK_HIGH_DIVISOR 20 /* 5 % */
#define DISK_LOW_BYTES    (64ull << 20)
#define DISK_LOW_DIVISOR  80 /* 1.25 % */

#define DISK_BALLAST_NAME "poold.ballast" /* in the data directory */

/* ---- deciding; pure ---------------------------------------------------------------- */

enum disk_level { DISK_ENOUGH, DISK_SHORT, DISK_FULL, DISK_LEVEL_COUNT };
extern const char *const disk_level_names[DISK_LEVEL_COUNT];

struct disk_marks {
    uint64_t high, low; /* bytes; 0: never reached */
};
/* For a volume of this size; high and low as the settings have them. low <= high. */
struct disk_marks disk_marks(uint64_t total_bytes, uint64_t high, uint64_t low);

/* The level with so many free bytes, after the one before. Without its ballast the room
 * for it counts as used. */
enum disk_level disk_judge(enum disk_level before, uint64_t free_bytes, bool ballast,
                           const struct disk_marks *marks);
/* Whether there is room to make the ballast without coming near `low`. */
bool disk_ballast_fits(uint64_t free_bytes, const struct disk_marks *marks);

/* ---- watching ---------------------------------------------------------------------- */

struct disk;

struct disk_info {
    enum disk_level level;
    uint64_t free_bytes, total_bytes; /* when they were asked for last */
    struct disk_marks marks;
    uint64_t ballast_bytes;       /* 0: there is none now */
    uint64_t shorts, fulls;       /* how often these levels have begun since the start */
    uint64_t looks, looks_failed; /* at the free space */
};

/* Watches the folder. The first look is made here; on_change is called on the loop's thread
 * for each level that follows, and from disk_open if that first one is not DISK_ENOUGH.
 * ST_IO, ST_NO_MEMORY, with err. */
NODISCARD enum status disk_open(uv_loop_t *loop, const char *dir, uint64_t high,
                                uint64_t low,
                                void (*on_change)(void *data, enum disk_level level),
                                void *data, struct disk **ret_disk,
                                struct error_text *err);
/* Ends the thread, which may have to come back from the file system first. The ballast
 * stays. The handle closes in the loop's next turns. NULL is fine. */
void disk_close(struct disk *disk);
void disk_get_info(struct disk *disk, struct disk_info *ret_info);

/* Deletes the ballast in the folder: for a store that cannot be opened without its room.
 * Whether there was one. */
bool disk_release_ballast(const char *dir);

#endif
