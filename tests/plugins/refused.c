/* SPDX-License-Identifier: MIT */
/* Plugins that are refused, each for what its name says: built once for each macro. */
#include <poold/task.h>

#include <signal.h>
#include <unistd.h>

__attribute__((unused)) static void run(struct poold_call *call)
{
    (void)call;
}

#ifdef UNDEFINED
extern int frobnicate(void);
int call_it(void);
int call_it(void)
{
    return frobnicate();
}
#endif

#ifdef CRASH
static __attribute__((constructor)) void construct(void)
{
    raise(SIGSEGV);
}
#endif

#ifdef HANG
static __attribute__((constructor)) void construct(void)
{
    for (;;)
        pause();
}
#endif

#ifdef LEAVE
static __attribute__((constructor)) void construct(void)
{
    _exit(0);
}
#endif

#ifdef CHATTER
static __attribute__((constructor)) void construct(void)
{
    (void)puts("{\"tasks\":[]}"); /* no answer comes that way */
    (void)fflush(stdout);
}
#endif

__attribute__((unused)) static const struct poold_task task = {
#if defined BADNAME
    .name = "no spaces",
#elif defined BUILTIN
    .name = "square",
#elif defined TAKEN
    .name = "version",
#else
    .name = "fine",
#endif
#ifndef NAMELESS
    .summary = "Nothing.",
#endif
    .signature = "fine(a)",
#ifdef TOOMANY
    .params = { "a", "b", "c", "d", "e", "f", "g", "h", "i" },
#endif
#ifndef FORMLESS
    .run = run,
#endif
#if defined LIMITLESS
    .limits = { .memory_limit = UINT64_MAX },
#elif defined NOLIMIT
    .limits = { .time_limit = 0.0 / 0.0 },
#endif
};

#if defined NOTASKS
static const struct poold_task *const tasks[] = { NULL };
#elif defined DOUBLED
static const struct poold_task *const tasks[] = { &task, &task, NULL };
#else
static const struct poold_task *const tasks[] = { &task, NULL };
#endif

#ifdef NOSYMBOL
#define EXPORTED another_name
#else
#define EXPORTED poold_plugin
#endif
extern const struct poold_plugin EXPORTED;
const struct poold_plugin EXPORTED = {
#ifdef WRONGABI
    POOLD_ABI + 1,
#else
    POOLD_ABI,
#endif
    tasks
};
