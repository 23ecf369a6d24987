/* SPDX-License-Identifier: MIT */
/*
 * test_sim [--seeds A..B] [--seed N] [--trace] [--self-test] [--plant NAME]
 *
 * Runs the histories of these seeds. A breach, a failed assertion or a sanitizer's report ends
 * the run with the command that shows that history again, every step of it printed.
 */
#include "tests/sim/sim.h"

#include "common/log.h"

#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_LEAST   30
#define STEPS_RANGE   40
#define STEPS_TO_REST 20000
#define TIME_TO_REST  (7200 * NS_PER_SEC)

const char *const sim_plant_names[PLANT_COUNT] = {
    [PLANT_NONE] = "none",
    [PLANT_LOST_COMMAND] = "lost_command",
    [PLANT_EARLY_ANSWER] = "early_answer",
    [PLANT_NO_ANSWER] = "no_answer",
    [PLANT_TWO_OUTCOMES] = "two_outcomes",
    [PLANT_NO_OUTCOME] = "no_outcome",
    [PLANT_OTHER_RESULT] = "other_result",
    [PLANT_WIDE_WINDOW] = "wide_window",
    [PLANT_NO_END] = "no_end",
    [PLANT_RUN_AGAIN] = "run_again",
};

static const char *program;
static uint64_t current_seed;
static enum sim_plant current_plant;

/* ---- chance and words -------------------------------------------------------------- */

/* splitmix64 */
uint64_t sim_random(struct sim *sim)
{
    uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t sim_below(struct sim *sim, uint64_t end)
{
    return sim_random(sim) % end;
}

bool sim_chance(struct sim *sim, unsigned percent)
{
    return sim_below(sim, 100) < percent;
}

bool sim_plant_due(struct sim *sim, enum sim_plant plant)
{
    if (sim->plant != plant || sim->planted || sim->dying || !sim_chance(sim, 30))
        return false;
    sim_say(sim, "---- planted: %s", sim_plant_names[plant]);
    sim->planted = true;
    return true;
}

void sim_say(struct sim *sim, const char *format, ...)
{
    va_list args;

    if (!sim->trace)
        return;
    va_start(args, format);
    printf("%5lu %9.3f ", sim->steps, (double)sim->mono_ns / NS_PER_SEC);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

static void say_replay(void)
{
    char text[600];
    int len =
        snprintf(text, sizeof(text), "seed %llu. To see it again: %s --seed %llu%s%s\n",
                 (unsigned long long)current_seed, program,
                 (unsigned long long)current_seed, current_plant ? " --plant " : "",
                 current_plant ? sim_plant_names[current_plant] : "");

    if (write(STDERR_FILENO, text, (size_t)len) < 0)
        _exit(1);
}

void sim_breach(const struct sim *sim, const char *format, ...)
{
    va_list args;

    fflush(stdout);
    va_start(args, format);
    fprintf(stderr, "breach at step %lu: ", sim->steps);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(stderr);
    say_replay();
    _exit(1);
}

static void on_abort(int number)
{
    (void)number;
    say_replay();
    _exit(1);
}

/* Called by the sanitizers, if there are any. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct sim_job *sim_job_of(struct sim *sim, struct uuid id)
{
    for (unsigned i = 0; i < sim->job_count; i++)
        if (uuid_equal(sim->jobs[i].id, id))
            return &sim->jobs[i];
    return NULL;
}

unsigned sim_number(const struct sim_job *job)
{
    return (unsigned)(job - job->sim->jobs);
}

/* ---- a history --------------------------------------------------------------------- */

/* To the next timer, often a little late, or only a bit. */
static void let_time_pass(struct sim *sim)
{
    uint64_t due_ns = sim_next_due(sim);

    if (sim_chance(sim, 50) || due_ns > 20 * NS_PER_SEC)
        sim_advance(sim, sim_below(sim, 100 * NS_PER_MS));
    else
        sim_advance(sim, due_ns + (sim_chance(sim, 50) ? 0 : sim_below(sim, NS_PER_SEC)));
    (void)sim_fire(sim);
}

static void step(struct sim *sim)
{
    uint64_t what = sim_below(sim, 100);

    sim->steps++;
    if (what < 27)
        sim_client_step(sim);
    else if (what < 36)
        (void)(sim_feed_step(sim) || sim_pool_step(sim));
    else if (what < 62)
        (void)sim_pool_step(sim);
    else if (what < 85)
        (void)sim_store_step(sim);
    else if (what < 96)
        let_time_pass(sim);
    else
        sim_fault_step(sim);
    sim_turn(sim);
    sim_check(sim);
    if (sim->fatal)
        sim_server_stop(sim, true);
    else if (sim->crash_due)
        sim_server_crash(sim);
    else
        return;
    sim->crash_due = false;
    sim_server_start(sim);
}

static void come_to_rest(struct sim *sim)
{
    uint64_t until_ns = sim->mono_ns + TIME_TO_REST;

    sim_heal(sim);
    for (unsigned i = 0; !sim_at_rest(sim); i++) {
        bool pool, store, feed;

        sim->steps++;
        pool = sim_pool_step(sim);
        sim_turn(sim);
        store = sim_store_step(sim);
        sim_turn(sim);
        feed = sim_feed_step(sim);
        sim_turn(sim);
        if (i % 8 == 0 || (!pool && !store && !feed)) {
            uint64_t due_ns = sim_next_due(sim);

            sim_advance(sim, due_ns == UINT64_MAX ? NS_PER_SEC : due_ns);
            (void)sim_fire(sim);
            sim_turn(sim);
        }
        sim_check(sim);
        SIM_DEMAND(sim, i < STEPS_TO_REST && sim->mono_ns < until_ns,
                   "nothing is broken any more, and %zu jobs are not over",
                   dispatch_jobs(sim->dispatch));
    }
    sim_check_end(sim);
}

/* All is over, and some of it is run again; the server may crash before that has begun. */
static void run_again(struct sim *sim)
{
    for (unsigned i = 0; i < 3; i++)
        sim_client_retry(sim);
    for (unsigned i = 0; i < 6; i++) {
        (void)sim_store_step(sim);
        sim_turn(sim);
        sim_check(sim);
    }
    if (sim_chance(sim, 70)) {
        sim_server_crash(sim);
        sim_server_start(sim);
    }
    come_to_rest(sim);
}

void sim_run(uint64_t seed, enum sim_plant plant, bool trace)
{
    static struct sim sim;
    uint64_t count;

    memset(&sim, 0, sizeof(sim));
    current_seed = sim.seed = sim.random = seed;
    current_plant = sim.plant = plant;
    sim.trace = trace;
    sim.loop.data = &sim;
    sim.mono_ns = 1000 * NS_PER_SEC + sim_below(&sim, NS_PER_SEC);
    sim.wall_ms = 1800000000000;
    sim_advance(&sim, 0);
    sim.max_jobs = 4 + sim_below(&sim, 20);
    sim_disk_open(&sim);
    sim_server_start(&sim);
    count = STEPS_LEAST + sim_below(&sim, STEPS_RANGE);
    for (uint64_t i = 0; i < count; i++)
        step(&sim);
    come_to_rest(&sim);
    if (sim_chance(&sim, 15))
        run_again(&sim);
    sim_server_stop(&sim, false);
    sim_disk_close(&sim);
}

/* ---- the program ------------------------------------------------------------------- */

static void run_range(uint64_t first, uint64_t last, enum sim_plant plant)
{
    for (uint64_t seed = first; seed <= last; seed++)
        sim_run(seed, plant, false);
    printf("seeds %llu..%llu: as promised\n", (unsigned long long)first,
           (unsigned long long)last);
}

/* Each planted fault has to be noticed within so many histories. */
#define SELF_TEST_SEEDS 2000

static bool is_noticed(enum sim_plant plant)
{
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        run_range(1, SELF_TEST_SEEDS, plant);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static int self_test(void)
{
    int failed = 0;

    for (enum sim_plant plant = PLANT_NONE + 1; plant < PLANT_COUNT; plant++) {
        bool noticed = is_noticed(plant);

        printf("%s: %s\n", sim_plant_names[plant], noticed ? "noticed" : "NOT NOTICED");
        failed += !noticed;
    }
    return failed != 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: %s [--seeds A..B] [--seed N] [--plant NAME] [--self-test]\n",
            program);
    return 2;
}

static enum sim_plant plant_named(const char *name)
{
    enum sim_plant plant = PLANT_NONE;

    while (plant < PLANT_COUNT && strcmp(sim_plant_names[plant], name) != 0)
        plant++;
    return plant;
}

int main(int argc, char **argv)
{
    unsigned long long first = 1, last = 1000;
    enum sim_plant plant = PLANT_NONE;
    bool trace = false;

    program = argv[0];
    log_init(LOG_LEVEL_COUNT, LOG_TEXT, "sim");
    mallopt(M_MMAP_THRESHOLD,
            256 << 10); /* the ring of events is touched at its start only */
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_replay);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--self-test") == 0)
            return self_test();
        if (i + 1 == argc)
            return usage();
        if (strcmp(argv[i], "--seed") == 0) {
            first = last = strtoull(argv[++i], NULL, 10);
            trace = true;
        } else if (strcmp(argv[i], "--plant") == 0) {
            plant = plant_named(argv[++i]);
        } else if (strcmp(argv[i], "--seeds") != 0 ||
                   sscanf(argv[++i], "%llu..%llu", &first, &last) != 2) {
            return usage();
        }
    }
    if (plant == PLANT_COUNT || first > last)
        return usage();
    if (trace)
        sim_run(first, plant, true);
    else
        run_range(first, last, plant);
    return 0;
}
