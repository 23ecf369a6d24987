/* SPDX-License-Identifier: MIT */
/*
 * What tasks leave behind, use up and try: with real workers, confined as the server
 * confines them. Rows F16, F22, F24-F28 and F31 of the faults that are planned for.
 */
#include "tests/unit/workers/evil_tasks.h"
#include "tests/unit/workers/pool_rig.h"

#include <ftw.h>

#define NOBODY 65534

struct stage {
    struct rig rig;
    char root[64], scratch[96], data[96], secret[128], elsewhere[128], beside[96];
    struct confinement confinement;
    struct pool_options options;
};

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_true(fd != -1);
    assert_int_equal(write(fd, "secret", 6), 6);
    close(fd);
}

static struct stage *stage_new(void)
{
    struct stage *stage = calloc(1, sizeof(*stage));

    assert_non_null(stage);
    strcpy(stage->root, "/tmp/poold-test-confine-XXXXXX");
    assert_non_null(mkdtemp(stage->root));
    snprintf(stage->scratch, sizeof(stage->scratch), "%s/scratch", stage->root);
    snprintf(stage->data, sizeof(stage->data), "%s/data", stage->root);
    snprintf(stage->beside, sizeof(stage->beside), "%s/beside", stage->root);
    snprintf(stage->secret, sizeof(stage->secret), "%s/secret", stage->data);
    snprintf(stage->elsewhere, sizeof(stage->elsewhere), "%s/file", stage->beside);
    assert_int_equal(mkdir(stage->scratch, 0711), 0);
    assert_int_equal(mkdir(stage->data, 0700), 0);
    assert_int_equal(mkdir(stage->beside, 0777), 0);
    make_file(stage->secret);
    make_file(stage->elsewhere);
    stage->confinement = (struct confinement){ .sandbox = true,
                                               .scratch = stage->scratch,
                                               .data = stage->data };
    stage->options = rig_options(1);
    stage->options.confinement = &stage->confinement;
    return stage;
}

static void start(struct stage *stage)
{
    struct error_text err = { "" };

    assert_int_equal(
        forkserver_start(&stage->rig.forkserver, -1, &stage->confinement, &err), ST_OK);
    rig_start_with(&stage->rig, &stage->options);
    WAIT(&stage->rig, pool_idle(stage->rig.pool) == 1);
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static void stop(struct stage *stage)
{
    pool_stop(stage->rig.pool, rig_on_stopped);
    pool_kill(stage->rig.pool);
    rig_end(&stage->rig);
    nftw(stage->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(stage);
}

static int set_up(void **state)
{
    struct stage *stage = stage_new();

    start(stage);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    stop(*state);
    return 0;
}

/* Has the task do this, and gives what came of it. */
static const struct seen *attempt(struct stage *stage, const char *task, const char *deed,
                                  const char *arg)
{
    struct rig *rig = &stage->rig;
    struct chunk chunk = { 0 };
    char item[600];

    snprintf(item, sizeof(item), "\"%s%s%s\"", deed, *arg ? " " : "", arg);
    WAIT(rig, pool_idle(rig->pool) == 1);
    rig->seen_count = 0;
    buf_reset(&rig->results);
    rig_send(rig, &chunk, task, 1, item);
    WAIT(rig, rig->seen_count == 1);
    return &rig->seen[0];
}

static const char *result_of(struct stage *stage, const char *task, const char *deed,
                             const char *arg)
{
    struct buf *results = &stage->rig.results;

    assert_int_equal(attempt(stage, task, deed, arg)->kind, SEEN_RESULT);
    results->data[--results->len] = '\0'; /* the space behind it */
    return results->data;
}

static const char *evil(struct stage *stage, const char *deed, const char *arg)
{
    return result_of(stage, "evil", deed, arg);
}

static long evil_number(struct stage *stage, const char *deed, const char *arg)
{
    return strtol(evil(stage, deed, arg), NULL, 10);
}

static pid_t worker_pid(struct stage *stage)
{
    struct worker_info info;

    WAIT(&stage->rig, pool_idle(stage->rig.pool) == 1);
    assert_int_equal(pool_workers(stage->rig.pool, &info, 1), 1);
    return info.pid;
}

static bool is_gone(pid_t pid)
{
    char path[64], state = 'Z';
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return true;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state == 'Z';
}

/* ---- what is left behind ----------------------------------------------------------- */

/* The deep look is taken only now and then. */
static void let_time_pass(void)
{
    const struct timespec longer = { 0, 30 * 1000000 };

    nanosleep(&longer, NULL);
}

static void f27_the_next_task_finds_its_worker_as_the_first_one_did(void **state)
{
    struct stage *stage = *state;
    char before[512];
    pid_t pid = worker_pid(stage);
    bool same = false;

    snprintf(before, sizeof(before), "%s", evil(stage, "look", ""));
    assert_non_null(strstr(before, "umask=77 blocked=0 evil=no tmpdir=1 home=1"));
    /* On a busy machine the look before may have been later than it seems from here. */
    for (int i = 0; i < 20 && !same; i++) {
        let_time_pass();
        assert_string_equal(evil(stage, "mess", ""), "\"done\"");
        same = strcmp(evil(stage, "look", ""), before) == 0;
    }
    assert_true(same);
    assert_int_equal(worker_pid(stage), pid); /* the same worker */
}

static bool goes_soon(struct stage *stage, pid_t pid)
{
    uint64_t end_ns = uv_hrtime() + NS_PER_SEC;

    while (!is_gone(pid) && uv_hrtime() < end_ns)
        rig_turn(&stage->rig);
    return is_gone(pid);
}

static void f27_what_cannot_be_set_back_replaces_the_worker(void **state)
{
    struct stage *stage = *state;
    pid_t pid = worker_pid(stage);

    let_time_pass();
    assert_int_equal(evil_number(stage, "nice", ""), 0);
    for (int i = 0; i < 20 && !goes_soon(stage, pid); i++) { /* as above */
        let_time_pass();
        (void)evil(stage, "look", "");
    }
    assert_true(is_gone(pid));
    assert_true(worker_pid(stage) != pid);
    assert_int_equal(pool_lost_count(stage->rig.pool), 0);
}

static void the_scratch_folder_is_emptied_whatever_is_in_it(void **state)
{
    struct stage *stage = *state;
    pid_t pid = worker_pid(stage);

    assert_int_equal(evil_number(stage, "litter", stage->beside), 0);
    assert_int_equal(evil_number(stage, "count", ""), 0);
    assert_int_equal(evil_number(stage, "write", "left"), 0);
    assert_int_equal(evil_number(stage, "count", ""), 0);
    assert_int_equal(worker_pid(stage), pid);
    assert_int_equal(access(stage->elsewhere, F_OK), 0); /* the link led there */
}

static void the_scratch_folder_goes_with_its_worker(void **state)
{
    struct stage *stage = *state;
    struct chunk chunk = { 0 };
    char path[160];
    pid_t pid = worker_pid(stage);

    snprintf(path, sizeof(path), "%s/%d", stage->scratch, (int)pid);
    assert_int_equal(access(path, F_OK), 0);
    rig_send(&stage->rig, &chunk, "evil", 1, "\"stay\"");
    snprintf(path, sizeof(path), "%s/%d/locked", stage->scratch, (int)pid);
    WAIT(&stage->rig, access(path, F_OK) == 0);
    kill(pid, SIGKILL);
    snprintf(path, sizeof(path), "%s/%d", stage->scratch, (int)pid);
    WAIT(&stage->rig, access(path, F_OK) == -1);
}

static void f25_a_daemon_ends_with_the_task(void **state)
{
    struct stage *stage = *state;
    pid_t worker = worker_pid(stage);
    pid_t pid = (pid_t)evil_number(stage, "daemon", "");

    assert_true(pid > 0);
    WAIT(&stage->rig, is_gone(pid));
    assert_int_equal(worker_pid(stage), worker);
}

static void f28_who_does_not_close_files_is_replaced(void **state)
{
    struct stage *stage = stage_new();
    pid_t pid;

    (void)state;
    stage->options.worker.limits.at[LIMIT_OPEN_FILES] = 256;
    start(stage);
    pid = worker_pid(stage);
    for (int i = 0; i < 10 && worker_pid(stage) == pid; i++) {
        let_time_pass();
        assert_int_equal(evil_number(stage, "open", "20"), 0);
    }
    assert_true(worker_pid(stage) != pid);
    assert_int_equal(pool_lost_count(stage->rig.pool), 0);
    stop(stage);
}

static void f28_who_does_not_free_memory_is_replaced(void **state)
{
    struct stage *stage = *state;
    pid_t pid = worker_pid(stage);

    let_time_pass();
    assert_string_equal(evil(stage, "eat", "1000000"), "\"eaten\"");
    assert_int_equal(worker_pid(stage), pid);
    let_time_pass();
    assert_string_equal(evil(stage, "eat", "200000000"), "\"eaten\"");
    WAIT(&stage->rig, is_gone(pid));
    assert_int_equal(pool_lost_count(stage->rig.pool), 0);
}

static void what_one_task_printed_is_not_the_next_ones(void **state)
{
    struct stage *stage = *state;

    assert_string_equal(attempt(stage, "evil", "print", "one")->output, "one");
    assert_string_equal(attempt(stage, "evil", "look", "")->output, "");
    assert_string_equal(attempt(stage, "evil", "print", "two")->output, "two");
}

/* ---- limits ------------------------------------------------------------------------ */

static void f16_memory_over_the_limit_is_an_error_of_one_item(void **state)
{
    struct stage *stage = *state;
    const struct seen *seen;

    if (EVIL_MEMORY == 0)
        skip();
    seen = attempt(stage, "evil_limited", "eat", "1000000000");
    assert_int_equal(seen->kind, SEEN_FAILURE);
    assert_string_equal(evil(stage, "eat", "1000"), "\"eaten\"");
    assert_int_equal(pool_lost_count(stage->rig.pool), 0);
}

static void a_file_over_the_limit_cannot_be_written(void **state)
{
    struct stage *stage = *state;

    assert_int_equal(strtol(result_of(stage, "evil_limited", "big", "8192"), NULL, 10),
                     0);
    assert_int_equal(strtol(result_of(stage, "evil_limited", "big", "20000"), NULL, 10),
                     EFBIG);
    /* Another task has another limit. */
    assert_int_equal(evil_number(stage, "big", "20000"), 0);
    assert_int_equal(strtol(result_of(stage, "evil_limited", "big", "20000"), NULL, 10),
                     EFBIG);
}

static void processor_time_over_the_limit_ends_the_worker(void **state)
{
    struct stage *stage = *state;
    const struct seen *seen = attempt(stage, "evil_limited", "spin", "");

    assert_int_equal(seen->kind, SEEN_LOST);
    assert_int_equal(seen->exit.cause, EXIT_CPU_LIMIT);
    assert_int_equal(seen->item, 0);
}

static void files_over_the_limit_cannot_be_opened(void **state)
{
    struct stage *stage = stage_new();

    (void)state;
    stage->options.worker.limits.at[LIMIT_OPEN_FILES] = 32;
    start(stage);
    assert_int_equal(evil_number(stage, "open", "40"), EMFILE);
    stop(stage);
}

/* ---- ends -------------------------------------------------------------------------- */

static void f22_f24_a_task_that_leaves_has_no_result(void **state)
{
    static const char *const deeds[] = { "exit", "leave", "close" };
    struct stage *stage = *state;

    for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++) {
        const struct seen *seen = attempt(stage, "evil", deeds[i], "0");

        assert_int_equal(seen->kind, SEEN_LOST);
        assert_int_equal(seen->item, 0);
    }
    assert_string_equal(evil(stage, "eat", "1"), "\"eaten\"");
}

/* ---- what tasks try ---------------------------------------------------------------- */

static void the_data_folder_cannot_be_read_or_changed(void **state)
{
    struct stage *stage = *state;
    char path[160];

    if (confine_support().landlock == 0)
        skip();
    assert_int_equal(evil_number(stage, "read", stage->secret), EACCES);
    assert_int_equal(evil_number(stage, "write", stage->secret), EACCES);
    assert_int_equal(evil_number(stage, "unlink", stage->secret), EACCES);
    snprintf(path, sizeof(path), "%s/new", stage->data);
    assert_int_equal(evil_number(stage, "write", path), EACCES);
    snprintf(path, sizeof(path), "/proc/self/root%s", stage->secret);
    assert_int_equal(evil_number(stage, "read", path), EACCES);
    /* Everything else can. */
    assert_string_equal(evil(stage, "read", stage->elsewhere), "\"secret\"");
    snprintf(path, sizeof(path), "%s/new", stage->beside);
    assert_int_equal(evil_number(stage, "write", path), 0);
    assert_true(strlen(evil(stage, "read", "/etc/hostname")) > 2);
}

static void only_listed_folders_can_be_written(void **state)
{
    struct stage *stage = stage_new();
    char path[160];

    (void)state;
    if (confine_support().landlock == 0) {
        free(stage);
        skip();
    }
    stage->confinement.write = stage->beside;
    start(stage);
    snprintf(path, sizeof(path), "%s/new", stage->beside);
    assert_int_equal(evil_number(stage, "write", path), 0);
    assert_int_equal(evil_number(stage, "write", "left"), 0);
    assert_int_equal(evil_number(stage, "write", "/dev/null"), 0);
    assert_int_equal(evil_number(stage, "write", "/tmp/poold-test-elsewhere"), EACCES);
    assert_int_equal(evil_number(stage, "read", stage->secret), EACCES);
    assert_string_equal(evil(stage, "read", stage->elsewhere), "\"secret\"");
    stop(stage);
}

static void f31_calls_for_administrators_are_refused(void **state)
{
    struct stage *stage = *state;

    if (!confine_support().seccomp)
        skip();
    assert_int_equal(evil_number(stage, "calls", ""), 0);
}

static void f31_others_cannot_be_killed(void **state)
{
    struct stage *stage = *state;
    char pid[16];

    if (confine_support().landlock < 6)
        skip();
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_int_equal(evil_number(stage, "kill", pid), EPERM);
    snprintf(pid, sizeof(pid), "%d", (int)pool_forkserver_pid(stage->rig.pool));
    assert_int_equal(evil_number(stage, "kill", pid), EPERM);
    assert_int_equal(pool_lost_count(stage->rig.pool), 0);
}

static void without_a_sandbox_nothing_is_refused(void **state)
{
    struct stage *stage = stage_new();

    (void)state;
    stage->confinement.sandbox = false;
    start(stage);
    assert_string_equal(evil(stage, "read", stage->secret), "\"secret\"");
    stop(stage);
}

/* ---- another user ------------------------------------------------------------------ */

static struct stage *start_as_nobody(void)
{
    struct stage *stage = stage_new();

    assert_int_equal(chmod(stage->root, 0711), 0);
    stage->confinement.has_user = true;
    stage->confinement.uid = stage->confinement.gid = NOBODY;
    start(stage);
    return stage;
}

static void workers_can_be_another_user(void **state)
{
    struct stage *stage;
    char path[160];
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    stage = start_as_nobody();
    assert_string_equal(evil(stage, "uid", ""), "\"65534:65534 0 home\"");
    assert_int_equal(evil_number(stage, "read", stage->secret), EACCES);
    assert_int_equal(evil_number(stage, "write", "left"), 0);
    assert_int_equal(evil_number(stage, "litter", stage->beside), 0);
    assert_int_equal(evil_number(stage, "count", ""), 0);
    snprintf(path, sizeof(path), "%d", (int)getpid());
    assert_int_equal(evil_number(stage, "kill", path), EPERM);
    pid = worker_pid(stage);
    /* It still ends with its forkserver. */
    kill(pool_forkserver_pid(stage->rig.pool), SIGKILL);
    WAIT(&stage->rig, is_gone(pid));
    stop(stage);
}

static void f26_a_fork_bomb_is_contained(void **state)
{
    struct stage *stage;

    (void)state;
    if (geteuid() != 0) /* the limit counts the processes of a user */
        skip();
    stage = stage_new();
    assert_int_equal(chmod(stage->root, 0711), 0);
    stage->confinement.has_user = true;
    stage->confinement.uid = stage->confinement.gid = NOBODY - 1;
    stage->options.worker.limits.at[LIMIT_PROCESSES] = 20;
    start(stage);
    assert_in_range(evil_number(stage, "bomb", "100"), 1, 20);
    /* The worker goes on, and they are gone, or will be: the system counts those that are
     * killed until they have ended. */
    while (evil_number(stage, "bomb", "15") != 15)
        continue;
    stop(stage);
}

/* ---- pure -------------------------------------------------------------------------- */

static void a_confinement_comes_back_from_its_arguments(void **state)
{
    const struct confinement in = {
        true, "/tmp/a b", "/data", "/w:/x", true, 7, 8, { "/c", "/m", true, false, true }
    };
    static const struct confinement none = { 0 };
    struct confinement out;
    char *args[CONFINE_ARGS_MAX], *text;
    int count = 0;

    (void)state;
    assert_int_equal(confine_args(&in, args, &text), ST_OK);
    while (args[count])
        count++;
    assert_int_equal(count, 9);
    assert_true(confine_parse(count, args, &out));
    assert_true(out.sandbox && out.has_user && out.uid == 7 && out.gid == 8);
    assert_string_equal(out.scratch, in.scratch);
    assert_string_equal(out.data, in.data);
    assert_string_equal(out.write, in.write);
    assert_string_equal(out.cgroup.base, "/c");
    assert_string_equal(out.cgroup.mount, "/m");
    assert_true(out.cgroup.kill && !out.cgroup.memory && out.cgroup.pids);
    free(text);
    assert_int_equal(confine_args(&none, args, &text), ST_OK);
    assert_null(args[0]);
    free(text);
    assert_true(confine_parse(0, args, &out));
    assert_false(out.sandbox || out.has_user || out.scratch || out.data || out.write);
    assert_false(confine_parse(1, (char *[]){ "user=x", NULL }, &out));
    assert_false(confine_parse(1, (char *[]){ "other", NULL }, &out));
}

static void users_are_found_by_name_and_number(void **state)
{
    uid_t uid;
    gid_t gid;

    (void)state;
    assert_int_equal(confine_user("root", &uid, &gid), ST_OK);
    assert_int_equal(uid, 0);
    assert_int_equal(confine_user("4711:4712", &uid, &gid), ST_OK);
    assert_true(uid == 4711 && gid == 4712);
    assert_int_equal(confine_user("987654", &uid, &gid), ST_OK);
    assert_true(uid == 987654 && gid == 987654);
    assert_int_equal(confine_user("no such user", &uid, &gid), ST_NOT_FOUND);
    assert_int_equal(confine_user("1:x", &uid, &gid), ST_NOT_FOUND);
    assert_int_equal(confine_user("1:2:3", &uid, &gid), ST_NOT_FOUND);
    assert_int_equal(confine_user("99999999999", &uid, &gid), ST_NOT_FOUND);
    assert_int_equal(confine_user("", &uid, &gid), ST_NOT_FOUND);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* With a limit of memory in use. */
static int set_up_lean(void **state)
{
    struct stage *stage = stage_new();

    stage->options.worker.rss_max = 100u << 20;
    start(stage);
    *state = stage;
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(f27_the_next_task_finds_its_worker_as_the_first_one_did),
        CASE(f27_what_cannot_be_set_back_replaces_the_worker),
        CASE(the_scratch_folder_is_emptied_whatever_is_in_it),
        CASE(the_scratch_folder_goes_with_its_worker),
        CASE(f25_a_daemon_ends_with_the_task),
        cmocka_unit_test(f28_who_does_not_close_files_is_replaced),
        cmocka_unit_test_setup_teardown(f28_who_does_not_free_memory_is_replaced,
                                        set_up_lean, tear_down),
        CASE(what_one_task_printed_is_not_the_next_ones),
        CASE(f16_memory_over_the_limit_is_an_error_of_one_item),
        CASE(a_file_over_the_limit_cannot_be_written),
        CASE(processor_time_over_the_limit_ends_the_worker),
        cmocka_unit_test(files_over_the_limit_cannot_be_opened),
        CASE(f22_f24_a_task_that_leaves_has_no_result),
        CASE(the_data_folder_cannot_be_read_or_changed),
        cmocka_unit_test(only_listed_folders_can_be_written),
        CASE(f31_calls_for_administrators_are_refused),
        CASE(f31_others_cannot_be_killed),
        cmocka_unit_test(without_a_sandbox_nothing_is_refused),
        cmocka_unit_test(workers_can_be_another_user),
        cmocka_unit_test(f26_a_fork_bomb_is_contained),
        cmocka_unit_test(a_confinement_comes_back_from_its_arguments),
        cmocka_unit_test(users_are_found_by_name_and_number),
    };

    if (argc > 1 && strcmp(argv[1], "forkserver") == 0) {
        evil_register();
        return forkserver_main(argc - 2, argv + 2);
    }
    return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
