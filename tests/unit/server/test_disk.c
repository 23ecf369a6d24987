/* SPDX-License-Identifier: MIT */
#include "server/disk.h"

#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB      (1ull << 20)
#define GIB      (1ull << 30)
#define HUGE     (1ull << 50) /* more than any disk has free */
#define LIMIT_NS (20 * NS_PER_SEC)

/* ---- deciding ---------------------------------------------------------------------- */

static void the_marks_of_a_large_volume_are_bytes(void **state)
{
    struct disk_marks marks = disk_marks(100 * GIB, DISK_AUTO, DISK_AUTO);

    (void)state;
    assert_int_equal(marks.high, 256 * MIB);
    assert_int_equal(marks.low, 64 * MIB);
}

static void those_of_a_small_volume_are_parts_of_it(void **state)
{
    struct disk_marks marks = disk_marks(80 * MIB, DISK_AUTO, DISK_AUTO);

    (void)state;
    assert_int_equal(marks.high, 4 * MIB);
    assert_int_equal(marks.low, 1 * MIB);
}

static void settings_are_taken_as_they_are(void **state)
{
    struct disk_marks marks = disk_marks(80 * MIB, 70 * MIB, 60 * MIB);

    (void)state;
    assert_int_equal(marks.high, 70 * MIB);
    assert_int_equal(marks.low, 60 * MIB);
    marks = disk_marks(GIB, DISK_AUTO, 500 * MIB);
    assert_int_equal(marks.high, 500 * MIB); /* never below low */
    marks = disk_marks(GIB, 0, DISK_AUTO);
    assert_int_equal(marks.high, 0);
    assert_int_equal(marks.low, 0);
    assert_false(disk_ballast_fits(GIB, &marks));
}

static void a_level_begins_at_its_mark_and_ends_well_above_it(void **state)
{
    const struct disk_marks marks = { 256 * MIB, 64 * MIB };
    static const struct {
        enum disk_level before;
        unsigned free_mib;
        bool ballast;
        enum disk_level then;
    } cases[] = {
        { DISK_ENOUGH, 256, true, DISK_ENOUGH }, { DISK_ENOUGH, 255, true, DISK_SHORT },
        { DISK_ENOUGH, 64, true, DISK_SHORT },   { DISK_ENOUGH, 63, true, DISK_FULL },
        { DISK_SHORT, 63, true, DISK_FULL },     { DISK_SHORT, 287, true, DISK_SHORT },
        { DISK_SHORT, 288, true, DISK_ENOUGH },  { DISK_FULL, 159, false, DISK_FULL },
        { DISK_FULL, 160, false, DISK_SHORT },   { DISK_FULL, 352, false, DISK_ENOUGH },
        { DISK_FULL, 127, false, DISK_FULL }, /* what the ballast has set free */
        { DISK_FULL, 95, true, DISK_FULL },      { DISK_FULL, 96, true, DISK_SHORT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(disk_judge(cases[i].before, cases[i].free_mib * MIB,
                                    cases[i].ballast, &marks),
                         cases[i].then);
}

static void without_marks_a_disk_is_never_full(void **state)
{
    const struct disk_marks none = { 0, 0 };

    (void)state;
    assert_int_equal(disk_judge(DISK_ENOUGH, 0, false, &none), DISK_ENOUGH);
}

/* The ballast that is made after a time without it must not begin that time anew. */
static void the_ballast_fits_where_its_making_changes_nothing(void **state)
{
    const struct disk_marks marks = { 256 * MIB, 64 * MIB };

    (void)state;
    for (uint64_t free_bytes = 0; free_bytes < GIB; free_bytes += MIB) {
        enum disk_level level = disk_judge(DISK_FULL, free_bytes, false, &marks);

        if (level == DISK_FULL)
            continue;
        assert_true(disk_ballast_fits(free_bytes, &marks));
        assert_int_equal(disk_judge(level, free_bytes - marks.low, true, &marks), level);
    }
}

/* ---- watching ---------------------------------------------------------------------- */

struct watched {
    uv_loop_t loop;
    char dir[64], ballast[128];
    struct disk *disk;
    int changes;
    enum disk_level level;
};

static int set_up(void **state)
{
    static struct watched watched;

    watched = (struct watched){ .level = DISK_ENOUGH };
    strcpy(watched.dir, "/tmp/poold-disk-XXXXXX");
    assert_non_null(mkdtemp(watched.dir));
    (void)snprintf(watched.ballast, sizeof(watched.ballast), "%s/%s", watched.dir,
                   DISK_BALLAST_NAME);
    assert_int_equal(uv_loop_init(&watched.loop), 0);
    *state = &watched;
    return 0;
}

static int tear_down(void **state)
{
    struct watched *watched = *state;

    disk_close(watched->disk);
    (void)uv_run(&watched->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&watched->loop), 0);
    (void)unlink(watched->ballast);
    assert_int_equal(rmdir(watched->dir), 0);
    return 0;
}

static void on_change(void *data, enum disk_level level)
{
    struct watched *watched = data;

    watched->changes++;
    watched->level = level;
}

static void open_disk(struct watched *watched, uint64_t high, uint64_t low)
{
    struct error_text err = { "" };

    assert_int_equal(disk_open(&watched->loop, watched->dir, high, low, on_change,
                               watched, &watched->disk, &err),
                     ST_OK);
}

static uint64_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void with_room_there_is_a_ballast_and_nothing_is_told(void **state)
{
    struct watched *watched = *state;
    struct disk_info info;

    open_disk(watched, MIB, MIB);
    assert_int_equal(watched->changes, 0);
    assert_int_equal(size_of(watched->ballast), MIB);
    disk_get_info(watched->disk, &info);
    assert_int_equal(info.level, DISK_ENOUGH);
    assert_int_equal(info.ballast_bytes, MIB);
    assert_true(info.total_bytes >= info.free_bytes && info.free_bytes > 0);
    assert_int_equal(info.looks, 1);
    assert_int_equal(info.looks_failed, 0);
}

static void a_full_disk_is_told_at_once_and_its_ballast_goes(void **state)
{
    struct watched *watched = *state;
    struct disk_info info;
    FILE *ballast = fopen(watched->ballast, "w");

    assert_non_null(ballast);
    (void)fputs("ballast", ballast);
    (void)fclose(ballast);
    open_disk(watched, HUGE, HUGE);
    assert_int_equal(watched->changes, 1);
    assert_int_equal(watched->level, DISK_FULL);
    assert_int_not_equal(access(watched->ballast, F_OK), 0);
    disk_get_info(watched->disk, &info);
    assert_int_equal(info.fulls, 1);
    assert_int_equal(info.ballast_bytes, 0);
}

static void the_folder_is_looked_at_again_and_again(void **state)
{
    struct watched *watched = *state;
    uint64_t deadline_ns = clock_mono_ns() + LIMIT_NS;

    open_disk(watched, MIB, MIB);
    assert_int_equal(unlink(watched->ballast), 0);
    while (size_of(watched->ballast) != MIB) {
        assert_true(clock_mono_ns() < deadline_ns);
        (void)usleep(10000);
    }
}

static void the_ballast_can_be_released_without_watching(void **state)
{
    struct watched *watched = *state;

    open_disk(watched, MIB, MIB);
    disk_close(watched->disk);
    watched->disk = NULL;
    assert_true(disk_release_ballast(watched->dir));
    assert_int_not_equal(access(watched->ballast, F_OK), 0);
    assert_false(disk_release_ballast(watched->dir));
}

static void a_folder_that_is_not_there_is_an_error(void **state)
{
    struct watched *watched = *state;
    struct error_text err = { "" };

    assert_int_equal(disk_open(&watched->loop, "/nowhere/at/all", MIB, MIB, on_change,
                               watched, &watched->disk, &err),
                     ST_IO);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_marks_of_a_large_volume_are_bytes),
        cmocka_unit_test(those_of_a_small_volume_are_parts_of_it),
        cmocka_unit_test(settings_are_taken_as_they_are),
        cmocka_unit_test(a_level_begins_at_its_mark_and_ends_well_above_it),
        cmocka_unit_test(without_marks_a_disk_is_never_full),
        cmocka_unit_test(the_ballast_fits_where_its_making_changes_nothing),
        CASE(with_room_there_is_a_ballast_and_nothing_is_told),
        CASE(a_full_disk_is_told_at_once_and_its_ballast_goes),
        CASE(the_folder_is_looked_at_again_and_again),
        CASE(the_ballast_can_be_released_without_watching),
        CASE(a_folder_that_is_not_there_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
