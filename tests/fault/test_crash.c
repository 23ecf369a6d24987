/* SPDX-License-Identifier: MIT */
/*
 * Power cuts. A workload runs on a disk that remembers every write and sync; then, for
 * each sync of it, what a power cut just before it may have left is made into a directory
 * of its own, with many seeds, and opened by the store as after any other stop:
 *
 *     it is opened, and SQLite finds nothing wrong with it
 *     it holds what it held after some number of commands: no command is half there
 *     that number is not below what was acknowledged as durable before the cut
 *
 *     test_crash [--seed N] [--images N] [--only CUT IMAGE]      see README.md
 */
#include "tests/fault/rig.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    uint64_t seed;   /* of the workload */
    uint64_t images; /* of each cut */
    size_t only_cut; /* SIZE_MAX: all */
    uint64_t only_image;
    bool all; /* also where it takes long */
} options = { 1, 20, SIZE_MAX, 0, false };

/* What happens until the power is cut. */
struct history {
    const char *name;
    struct workload *workload;
    struct reference *reference;
    struct rig rig;
    char before[RIG_DIR_MAX]; /* what the directory held at the beginning; "": nothing */
    size_t tried;             /* images */
};

static void history_run(struct history *history)
{
    struct rig *rig = &history->rig;
    const char *before = history->before[0] ? history->before : NULL;

    history->reference = reference_new(history->workload, before, NULL);
    rig->patient = true;
    rig_make_dir(rig->dir);
    if (before)
        rig_copy_dir(before, rig->dir);
    sqlite3_randomness(0, NULL); /* begin anew */
    disk_record(rig->dir);
    assert_int_equal(rig_open(rig), ST_OK);
    rig_run(rig, history->workload, 0, history->workload->count);
    rig_close(rig);
    disk_stop();
    assert_int_equal(rig->fatal, 0);
}

static void history_clear(struct history *history)
{
    rig_remove_dir(history->rig.dir);
    if (history->before[0])
        rig_remove_dir(history->before);
    free(history->reference);
    workload_free(history->workload);
}

/* The commands up to the last one that had to be on the disk by then. */
static size_t promised(const struct history *history, size_t cut)
{
    size_t count = 0;

    for (size_t i = 0; i < history->workload->count; i++) {
        const struct answer *answer = &history->rig.answers[i];

        if (history->workload->steps[i].durable && answer->called &&
            answer->st == ST_OK && answer->log_len <= cut)
            count = i + 1;
    }
    return count;
}

/* NULL, or what is wrong. */
static const char *look_at_content(const struct history *history, struct rig *rig,
                                   size_t least)
{
    static char text[100];
    const char *wrong = rig_ask_all(rig, history->workload);
    struct digest digest = rig_digest(rig->dir);
    size_t found;

    if (wrong)
        return wrong;
    if (!digest.all)
        return "the database is damaged";
    if (reference_find(history->reference, history->workload, digest, least) != SIZE_MAX)
        return NULL;
    found = reference_find(history->reference, history->workload, digest, 0);
    if (found == SIZE_MAX)
        return "a command is half there";
    (void)snprintf(text, sizeof(text), "it holds %zu commands, and %zu were promised",
                   found, least);
    return text;
}

static const char *look_at_image(const struct history *history, struct rig *rig,
                                 size_t least)
{
    const char *wrong;
    char copy[RIG_DIR_MAX + 32];

    if (rig_open(rig) != ST_OK)
        return rig->why.text;
    wrong = look_at_content(history, rig, least);
    rig_close(rig);
    (void)snprintf(copy, sizeof(copy), "%s/poold.db.v1.bak", rig->dir);
    if (!wrong && history->before[0] &&
        (access(copy, R_OK) != 0 || rig_user_version(copy) != 1))
        return "there is no copy of the database of version 1";
    return wrong;
}

static const char *try_image(const struct history *history, size_t cut, uint64_t image)
{
    static struct rig rig; /* static: it holds the reason */
    const char *wrong;

    memset(&rig, 0, sizeof(rig));
    rig.patient = true;
    rig_make_dir(rig.dir);
    disk_image(cut, image, rig.dir);
    disk_plain(true);
    wrong = look_at_image(history, &rig, promised(history, cut));
    disk_plain(false);
    if (wrong && options.only_cut != SIZE_MAX)
        print_error("%s: left in %s\n", history->name, rig.dir);
    else
        rig_remove_dir(rig.dir);
    return wrong;
}

/* The number of images with which something was wrong; the first one is told. */
static size_t cut_everywhere(struct history *history, uint64_t images, bool quiet)
{
    size_t wrongs = 0;

    for (size_t cut = 0; cut <= disk_log_len(); cut++) {
        if (cut < disk_log_len() && !disk_log_syncs(cut))
            continue;
        for (uint64_t image = 0; image < images; image++) {
            const char *wrong = NULL;

            if (options.only_cut != SIZE_MAX &&
                (options.only_cut != cut || options.only_image != image))
                continue;
            wrong = try_image(history, cut, image);
            history->tried++;
            if (wrong && !quiet && ++wrongs == 1)
                print_error("%s: --seed %llu --only %zu %llu: %s\n", history->name,
                            (unsigned long long)options.seed, cut,
                            (unsigned long long)image, wrong);
            else if (wrong && quiet)
                wrongs++;
        }
    }
    if (!quiet)
        print_message("%s: %zu steps, %zu entries in the log, %zu images\n",
                      history->name, history->workload->count, disk_log_len(),
                      history->tried);
    return wrongs;
}

/* ---- histories --------------------------------------------------------------------- */

static void a_new_database_survives_power_cuts(void **state)
{
    struct history history = { .name = "new",
                               .workload = workload_new(options.seed, 30) };

    (void)state;
    history_run(&history);
    assert_int_equal(cut_everywhere(&history, options.images, false), 0);
    if (options.only_cut == SIZE_MAX)
        print_message("G1: %zu images of power cuts: 0 with a job lost\n", history.tried);
    history_clear(&history);
}

static void a_checkpoint_by_size_survives_power_cuts(void **state)
{
    struct history history = { .name = "large", .workload = workload_new_large() };

    (void)state;
    history_run(&history);
    assert_int_equal(cut_everywhere(&history,
                                    options.all ? options.images : options.images / 4,
                                    false),
                     0);
    history_clear(&history);
}

static void an_upgrade_survives_power_cuts(void **state)
{
    struct history history = { .name = "upgrade", .workload = workload_new(2, 0) };

    (void)state;
    rig_make_dir(history.before);
    rig_make_version_1(history.before);
    history.workload->count = 8; /* what follows is the same as without an upgrade */
    history_run(&history);
    assert_int_equal(cut_everywhere(&history, options.images, false), 0);
    if (options.only_cut == SIZE_MAX)
        print_message("G15: %zu images of power cuts during an upgrade: 0 damaged, 0 "
                      "without the copy\n",
                      history.tried);
    history_clear(&history);
}

/* ---- the test of the test ----------------------------------------------------------- */

static void a_disk_that_lies_is_found_out(void **state)
{
    struct history history = { .name = "lies", .workload = workload_new(3, 0) };

    (void)state;
    if (options.only_cut != SIZE_MAX)
        skip();
    disk_lies(true);
    history_run(&history);
    disk_lies(false);
    /* Without syncs the only cut is the end: everything is promised, and lost. */
    assert_in_range(cut_everywhere(&history, options.images, true), options.images / 2,
                    options.images);
    history_clear(&history);
}

static void the_same_seed_makes_the_same_log(void **state)
{
    struct history first = { .name = "first", .workload = workload_new(4, 20) };
    struct history second = { .name = "second", .workload = workload_new(4, 20) };
    size_t len;

    (void)state;
    history_run(&first);
    len = disk_log_len();
    history_run(&second);
    assert_int_equal(disk_log_len(), len);
    for (size_t i = 0; i < first.workload->count; i++)
        assert_int_equal(first.rig.answers[i].log_len, second.rig.answers[i].log_len);
    history_clear(&first);
    history_clear(&second);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_makes_the_same_log),
        cmocka_unit_test(a_disk_that_lies_is_found_out),
        cmocka_unit_test(a_new_database_survives_power_cuts),
        cmocka_unit_test(a_checkpoint_by_size_survives_power_cuts),
        cmocka_unit_test(an_upgrade_survives_power_cuts),
    };

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            options.seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--images") == 0 && i + 1 < argc)
            options.images = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--all") == 0)
            options.all = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 2 < argc) {
            options.only_cut = strtoull(argv[++i], NULL, 10);
            options.only_image = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--test") == 0 && i + 1 < argc) {
            cmocka_set_test_filter(argv[++i]);
        } else {
            return 2;
        }
    }
    rig_init(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
