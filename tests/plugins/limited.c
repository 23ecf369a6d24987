/* SPDX-License-Identifier: MIT */
/* Tasks with limits of their own; with OLD as made for that interface: 1 had none. */
#include <poold/task.h>

#include <sys/resource.h>

#define TASK(ident, task_name, ...)                                                      \
    static const struct poold_task ident##_task = { .name = task_name,                   \
                                                    .summary = "Tells its limits.",      \
                                                    .signature = task_name "(kind)",     \
                                                    .params = { "kind" },                \
                                                    __VA_ARGS__ }

/* The soft limit of this kind (RLIMIT_...). */
static void run_soft(struct poold_call *call)
{
    struct rlimit limit;
    int64_t kind;

    if (!poold_arg_int64(call, 0, &kind))
        return;
    if (getrlimit((__rlimit_resource_t)kind, &limit) == -1)
        poold_raise(call, "ValueError", "no such kind");
    else
        poold_return_int64(call, (int64_t)limit.rlim_cur);
}

static void run_spin(struct poold_call *call)
{
    (void)call;
    for (volatile unsigned long i = 0;; i++)
        ;
}

TASK(strict, "limited.soft", .run = run_soft,
     .limits = { .memory_limit = 1ull << 40,
                 .file_size_limit = 4096,
                 .open_files_limit = 48,
                 .process_limit = 77 });
TASK(late, "limited.late", .run = run_spin, .limits = { .time_limit = 0.25 });
TASK(busy, "limited.busy", .run = run_spin, .limits = { .cpu_limit = 1 });
TASK(free, "limited.free", .run = run_soft);

#ifdef OLD
static const struct poold_task *const tasks[] = { &strict_task, &late_task, &busy_task,
                                                  &free_task, NULL };
extern const struct poold_plugin poold_plugin;
const struct poold_plugin poold_plugin = { OLD, tasks };
#else
POOLD_PLUGIN(&strict_task, &late_task, &busy_task, &free_task);
#endif
