/* SPDX-License-Identifier: MIT */
/* Against a tree of plain files: what is written where, and what is done without. A real
 * hierarchy is the matter of tests/live/cgroup.bats. */
#include "workers/cgroup.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKER 4711

struct tree {
    struct cgroup cgroup;
    char root[64];
    struct error_text err;
};

static const char *at(const struct tree *tree, const char *name)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", tree->root, name);
    return path;
}

static void put(const struct tree *tree, const char *name, const char *text)
{
    FILE *file = fopen(at(tree, name), "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static void assert_file(const struct tree *tree, const char *name, const char *wanted)
{
    char text[256] = "";
    FILE *file = fopen(at(tree, name), "r");

    assert_non_null(file);
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    assert_string_equal(text, wanted);
}

/* A parent with these controllers, and an empty base in which they can be enabled. */
static int set_up(void **state)
{
    struct tree *tree = calloc(1, sizeof(*tree));

    assert_non_null(tree);
    strcpy(tree->root, "/tmp/poold-test-cgroup-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
    strcpy(tree->cgroup.parent, tree->root);
    put(tree, "cgroup.controllers", "cpuset cpu memory pids\n");
    put(tree, "cgroup.subtree_control", "");
    put(tree, "cgroup.procs", "");
    assert_int_equal(mkdir(at(tree, "base"), 0755), 0);
    put(tree, "base/cgroup.subtree_control", "");
    put(tree, "base/cgroup.kill", "");
    *state = tree;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int tear_down(void **state)
{
    struct tree *tree = *state;

    chmod(tree->root, 0755);
    nftw(tree->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(tree);
    return 0;
}

static enum status make(struct tree *tree)
{
    return cgroup_make(&tree->cgroup, "base", &tree->err);
}

static void add_worker(struct tree *tree)
{
    static const char *const files[] = { "memory.max", "memory.oom.group", "pids.max",
                                         "cgroup.procs", "cgroup.kill" };
    char name[64];

    snprintf(name, sizeof(name), "base/%d", WORKER);
    assert_int_equal(mkdir(at(tree, name), 0755), 0);
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(name, sizeof(name), "base/%d/%s", WORKER, files[i]);
        put(tree, name, "");
    }
}

/* ---- the base ---------------------------------------------------------------------- */

static void all_that_is_there_is_enabled_in_parent_and_base(void **state)
{
    struct tree *tree = *state;

    assert_int_equal(make(tree), ST_OK);
    assert_string_equal(tree->cgroup.plan.base, at(tree, "base"));
    assert_true(tree->cgroup.plan.kill && tree->cgroup.plan.memory &&
                tree->cgroup.plan.pids);
    assert_string_equal(tree->cgroup.why.text, "");
    assert_false(tree->cgroup.moved);
}

static void a_controller_is_enabled_and_taken_back(void **state)
{
    struct tree *tree = *state;

    put(tree, "cgroup.controllers", "cpu memory\n");
    assert_int_equal(make(tree), ST_OK);
    assert_file(tree, "cgroup.subtree_control", "+memory");
    assert_file(tree, "base/cgroup.subtree_control", "+memory");
    cgroup_close(&tree->cgroup);
    assert_file(tree, "cgroup.subtree_control", "-memory");
}

static void what_is_enabled_in_the_parent_is_left_as_it_is(void **state)
{
    struct tree *tree = *state;

    put(tree, "cgroup.subtree_control", "memory pids\n");
    assert_int_equal(make(tree), ST_OK);
    assert_true(tree->cgroup.plan.memory && tree->cgroup.plan.pids);
    assert_file(tree, "cgroup.subtree_control", "memory pids\n");
    cgroup_close(&tree->cgroup);
    assert_file(tree, "cgroup.subtree_control", "memory pids\n");
}

static void without_controllers_the_group_still_kills(void **state)
{
    struct tree *tree = *state;

    put(tree, "cgroup.controllers", "hugetlb\n");
    assert_int_equal(make(tree), ST_OK);
    assert_true(tree->cgroup.plan.kill);
    assert_false(tree->cgroup.plan.memory || tree->cgroup.plan.pids);
    assert_non_null(strstr(tree->cgroup.why.text, "there is no controller pids"));
}

static void a_controller_that_cannot_be_enabled_is_done_without(void **state)
{
    struct tree *tree = *state;

    put(tree, "cgroup.controllers", "xmemory memory\n");
    remove(at(tree, "base/cgroup.subtree_control"));
    assert_int_equal(make(tree), ST_OK);
    assert_false(tree->cgroup.plan.memory);
    assert_true(tree->cgroup.plan.kill);
}

static void an_old_kernel_without_anything_is_no_plan(void **state)
{
    struct tree *tree = *state;

    put(tree, "cgroup.controllers", "");
    remove(at(tree, "base/cgroup.kill"));
    assert_int_equal(make(tree), ST_OK);
    assert_null(tree->cgroup.plan.base);
}

static void a_parent_that_is_not_ours_or_not_there_is_told(void **state)
{
    struct tree *tree = *state;

    strcat(tree->cgroup.parent, "/nonesuch");
    assert_int_equal(make(tree), ST_IO);
    assert_non_null(strstr(tree->err.text, "No such file"));
    assert_null(tree->cgroup.plan.base);
    if (geteuid() == 0)
        return; /* whom nothing is denied */
    strcpy(tree->cgroup.parent, tree->root);
    assert_int_equal(chmod(tree->root, 0555), 0);
    assert_int_equal(cgroup_make(&tree->cgroup, "other", &tree->err), ST_DENIED);
}

/* ---- workers ----------------------------------------------------------------------- */

static void limits_are_written_where_they_are_in_force(void **state)
{
    struct tree *tree = *state;
    const struct limits limits = {
        .at = { [LIMIT_MEMORY] = 123456789, [LIMIT_PROCESSES] = 17 }
    };

    assert_int_equal(make(tree), ST_OK);
    add_worker(tree);
    assert_true(cgroup_set_limits(&tree->cgroup.plan, WORKER, &limits));
    assert_file(tree, "base/4711/memory.max", "123456789");
    assert_file(tree, "base/4711/memory.oom.group", "1");
    assert_file(tree, "base/4711/pids.max", "17");
    assert_true(cgroup_join(&tree->cgroup.plan, WORKER, 815));
    assert_file(tree, "base/4711/cgroup.procs", "815");
    cgroup_kill(&tree->cgroup.plan, WORKER);
    assert_file(tree, "base/4711/cgroup.kill", "1");
}

static void swap_is_no_way_out_where_it_can_be_limited(void **state)
{
    struct tree *tree = *state;
    const struct limits limits = { .at = { [LIMIT_MEMORY] = 123456789 } };

    assert_int_equal(make(tree), ST_OK);
    add_worker(tree);
    put(tree, "base/4711/memory.swap.max", "");
    assert_true(cgroup_set_limits(&tree->cgroup.plan, WORKER, &limits));
    assert_file(tree, "base/4711/memory.swap.max", "0");
    assert_file(tree, "base/4711/pids.max", "");
}

static void what_is_not_in_force_is_not_written(void **state)
{
    struct tree *tree = *state;
    const struct limits limits = {
        .at = { [LIMIT_MEMORY] = 123456789, [LIMIT_PROCESSES] = 17 }
    };
    struct cgroup_plan none = { 0 };

    put(tree, "cgroup.controllers", "");
    assert_int_equal(make(tree), ST_OK);
    add_worker(tree);
    assert_true(cgroup_set_limits(&tree->cgroup.plan, WORKER, &limits));
    assert_file(tree, "base/4711/memory.max", "");
    assert_file(tree, "base/4711/pids.max", "");
    assert_true(cgroup_enter(&none, &limits));
    assert_true(cgroup_leave(&none, WORKER));
    assert_false(cgroup_out_of_memory(&none, WORKER));
}

static void a_limit_that_cannot_be_written_is_no_group_to_run_in(void **state)
{
    struct tree *tree = *state;
    const struct limits limits = { .at = { [LIMIT_PROCESSES] = 17 } };

    assert_int_equal(make(tree), ST_OK);
    /* A plain folder has no files by itself. */
    assert_false(cgroup_enter(&tree->cgroup.plan, &limits));
}

static void only_oom_kill_counts_as_out_of_memory(void **state)
{
    struct tree *tree = *state;

    assert_int_equal(make(tree), ST_OK);
    add_worker(tree);
    assert_false(cgroup_out_of_memory(&tree->cgroup.plan, WORKER));
    put(tree, "base/4711/memory.events",
        "low 0\nhigh 0\nmax 9\noom 3\noom_kill 0\noom_group_kill 0\n");
    assert_false(cgroup_out_of_memory(&tree->cgroup.plan, WORKER));
    put(tree, "base/4711/memory.events",
        "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 1\n");
    assert_true(cgroup_out_of_memory(&tree->cgroup.plan, WORKER));
}

static void a_group_that_is_not_empty_is_not_left(void **state)
{
    struct tree *tree = *state;

    assert_int_equal(make(tree), ST_OK);
    add_worker(tree);
    assert_false(cgroup_leave(&tree->cgroup.plan, WORKER));
    assert_true(cgroup_leave(&tree->cgroup.plan, WORKER + 1)); /* there is none */
}

static void groups_of_an_earlier_server_are_killed_and_removed(void **state)
{
    struct tree *tree = *state;

    assert_int_equal(make(tree), ST_OK);
    assert_int_equal(mkdir(at(tree, "base/33"), 0755), 0);
    assert_int_equal(mkdir(at(tree, "base/33/in"), 0755), 0);
    assert_int_equal(mkdir(at(tree, "base/server"), 0755), 0);
    add_worker(tree); /* with files: plain folders with files cannot be removed */
    cgroup_clear(&tree->cgroup);
    assert_int_equal(access(at(tree, "base/33"), F_OK), -1);
    assert_int_equal(access(at(tree, "base/server"), F_OK), 0);
    assert_file(tree, "base/4711/cgroup.kill", "1");
}

/* ---- where it is ------------------------------------------------------------------- */

#define V1 "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

static void the_own_group_is_found_in_the_kernels_texts(void **state)
{
    static const struct {
        const char *membership, *mounts, *mount, *group;
    } cases[] = {
        { "0::/system.slice/poold.service\n",
          "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
          "/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/poold.service" },
        { "4:memory:/a\n0::/\n",
          V1 "31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 c rw\n",
          "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified" },
        /* A container that is shown only its own part. */
        { "0::/docker/1f\n", "31 25 0:27 /docker/1f /sys/fs/cgroup ro - cgroup2 c rw\n",
          "/sys/fs/cgroup", "/sys/fs/cgroup" },
        { "0::/docker/1f/x\n", "31 25 0:27 /docker/1f /sys/fs/cgroup ro - cgroup2 c rw\n",
          "/sys/fs/cgroup", "/sys/fs/cgroup/x" },
        { "0::/a\n", "31 25 0:27 / /mnt/my\\040groups rw - cgroup2 c rw",
          "/mnt/my groups", "/mnt/my groups/a" },
    };
    char mount[PATH_MAX], group[PATH_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_true(cgroup_find(cases[i].membership, cases[i].mounts, mount, group));
        assert_string_equal(mount, cases[i].mount);
        assert_string_equal(group, cases[i].group);
    }
}

static void what_is_no_own_group_is_not_found(void **state)
{
    static const struct {
        const char *membership, *mounts;
    } cases[] = {
        { "", "" },
        { "4:memory:/a\n", "31 25 0:27 / /sys/fs/cgroup rw - cgroup2 c rw\n" },
        { "0::/\n", V1 },
        { "0::/../..\n", "31 25 0:27 / /sys/fs/cgroup rw - cgroup2 c rw\n" },
        { "0::/docker/2\n", "31 25 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 c rw\n" },
        { "0::/docker/11\n", "31 25 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 c rw\n" },
        { "0::/\n", "31 25 0:27 /\n- cgroup2 \n\n   - cgroup2 \n31 - cgroup2 c rw\n" },
    };
    char mount[PATH_MAX], group[PATH_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_false(cgroup_find(cases[i].membership, cases[i].mounts, mount, group));
}

static void the_innermost_mount_of_a_path_counts(void **state)
{
    static const char mounts[] = "31 25 0:27 / /a rw - cgroup2 c rw\n"
                                 "32 25 0:27 / /a/b rw - cgroup2 c rw\n"
                                 "33 25 0:28 / /a/b/c rw - tmpfs c rw\n";
    char mount[PATH_MAX];

    (void)state;
    assert_true(cgroup_find_mount(mounts, "/a/b/c/d", mount));
    assert_string_equal(mount, "/a/b");
    assert_true(cgroup_find_mount(mounts, "/a/bc", mount));
    assert_string_equal(mount, "/a");
    assert_false(cgroup_find_mount(mounts, "/b", mount));
}

static void what_is_set_has_to_be_a_control_group(void **state)
{
    struct tree *tree = *state;
    struct cgroup cgroup;

    assert_int_equal(cgroup_open(&cgroup, tree->root, "base", &tree->err), ST_INVALID);
    assert_non_null(strstr(tree->err.text, "is no control group of version 2"));
    assert_int_equal(cgroup_open(&cgroup, "/nonesuch", "base", &tree->err), ST_INVALID);
    assert_int_equal(cgroup_open(&cgroup, "off", "base", &tree->err), ST_OK);
    assert_null(cgroup.plan.base);
    cgroup_close(&cgroup);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_that_is_there_is_enabled_in_parent_and_base),
        TEST(a_controller_is_enabled_and_taken_back),
        TEST(what_is_enabled_in_the_parent_is_left_as_it_is),
        TEST(without_controllers_the_group_still_kills),
        TEST(a_controller_that_cannot_be_enabled_is_done_without),
        TEST(an_old_kernel_without_anything_is_no_plan),
        TEST(a_parent_that_is_not_ours_or_not_there_is_told),
        TEST(limits_are_written_where_they_are_in_force),
        TEST(swap_is_no_way_out_where_it_can_be_limited),
        TEST(what_is_not_in_force_is_not_written),
        TEST(a_limit_that_cannot_be_written_is_no_group_to_run_in),
        TEST(only_oom_kill_counts_as_out_of_memory),
        TEST(a_group_that_is_not_empty_is_not_left),
        TEST(groups_of_an_earlier_server_are_killed_and_removed),
        TEST(the_own_group_is_found_in_the_kernels_texts),
        TEST(what_is_no_own_group_is_not_found),
        TEST(the_innermost_mount_of_a_path_counts),
        TEST(what_is_set_has_to_be_a_control_group),
    };

    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
