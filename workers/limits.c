/* SPDX-License-Identifier: MIT */
#include "workers/limits.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define NS_PER_S    1000000000ull
#define NS_PER_MS   1000000ull
#define TIME_MAX_MS (2592000ll * 1000)

const struct limit_kind limit_kinds[LIMIT_COUNT] = {
    /* Less, and no worker could start. */
    [LIMIT_MEMORY] = { "memory_limit", 64u << 20, 1ull << 50,
                       "a whole number of bytes from 67108864 to 1125899906842624" },
    [LIMIT_FILE_SIZE] = { "file_size_limit", 1, 1ull << 50,
                          "a whole number of bytes from 1 to 1125899906842624" },
    [LIMIT_OPEN_FILES] = { "open_files_limit", 32, 1u << 20,
                           "a whole number from 32 to 1048576" },
    [LIMIT_PROCESSES] = { "process_limit", 1, 1u << 22,
                          "a whole number from 1 to 4194304" },
};

static const __rlimit_resource_t resources[LIMIT_COUNT] = {
    [LIMIT_MEMORY] = RLIMIT_AS,
    [LIMIT_FILE_SIZE] = RLIMIT_FSIZE,
    [LIMIT_OPEN_FILES] = RLIMIT_NOFILE,
    [LIMIT_PROCESSES] = RLIMIT_NPROC,
};

bool limits_equal(const struct limits *a, const struct limits *b)
{
    return memcmp(a->at, b->at, sizeof(a->at)) == 0 && a->cpu_ms == b->cpu_ms;
}

struct limits limits_or(const struct limits *own, const struct limits *others)
{
    struct limits both = *own;

    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        if (both.at[i] == 0)
            both.at[i] = others->at[i];
    if (both.cpu_ms == 0)
        both.cpu_ms = others->cpu_ms;
    return both;
}

bool limits_set(pid_t pid, const struct limits *limits)
{
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        struct rlimit limit = { limits->at[i], limits->at[i] }, old;

        if (limits->at[i] == 0)
            continue;
        /* What is stricter already stays so. */
        if (prlimit(pid, resources[i], NULL, &old) == -1)
            return false;
        if (old.rlim_max < limit.rlim_max)
            limit.rlim_cur = limit.rlim_max = old.rlim_max;
        if (prlimit(pid, resources[i], &limit, NULL) == -1)
            return false;
    }
    return true;
}

bool limits_narrow(pid_t pid, const struct limits *limits)
{
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        struct rlimit limit;

        if (prlimit(pid, resources[i], NULL, &limit) == -1)
            return false;
        limit.rlim_cur = limits->at[i] > 0 && limits->at[i] < limit.rlim_max
                             ? limits->at[i]
                             : limit.rlim_max;
        if (prlimit(pid, resources[i], &limit, NULL) == -1)
            return false;
    }
    return true;
}

static bool cpu_used_ns(pid_t pid, uint64_t *ret_ns)
{
    clockid_t clock;
    struct timespec used;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) == -1)
        return false;
    *ret_ns = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
    return true;
}

bool limits_grant_cpu(pid_t pid, int64_t cpu_ms)
{
    struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
    uint64_t used_ns;

    if (cpu_ms > 0) {
        if (!cpu_used_ns(pid, &used_ns))
            return false;
        limit.rlim_cur =
            (used_ns + (uint64_t)cpu_ms * NS_PER_MS + NS_PER_S - 1) / NS_PER_S;
    }
    if (prlimit(pid, RLIMIT_CPU, &limit, NULL) == 0)
        return true;
    /* There is a hard limit from outside, and we may not lift it. */
    if (prlimit(pid, RLIMIT_CPU, NULL, &limit) == -1)
        return false;
    limit.rlim_cur = limit.rlim_max;
    return prlimit(pid, RLIMIT_CPU, &limit, NULL) == 0;
}

/* ---- of a task --------------------------------------------------------------------- */

static bool parse_seconds(const json_t *value, int64_t max_ms, int64_t *ret_ms)
{
    double seconds = json_number_value(value);

    if (!json_is_number(value) || !(seconds >= 0.001) ||
        seconds > (double)(max_ms / 1000))
        return false;
    *ret_ms = (int64_t)(seconds * 1000 + 0.5);
    return true;
}

static const char *parse_member(const char *name, const json_t *value,
                                struct limits *limits, int64_t *time_limit_ms)
{
    if (strcmp(name, "time_limit") == 0)
        return parse_seconds(value, TIME_MAX_MS, time_limit_ms)
                   ? NULL
                   : "time_limit is not a number of seconds from 0.001 to 2592000";
    if (strcmp(name, CPU_LIMIT_NAME) == 0)
        return parse_seconds(value, CPU_LIMIT_MAX_MS, &limits->cpu_ms)
                   ? NULL
                   : "cpu_limit is not a number of seconds from 0.001 to 2592000";
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        json_int_t number = json_integer_value(value);

        if (strcmp(name, limit_kinds[i].name) != 0)
            continue;
        if (!json_is_integer(value) || number < 1 ||
            number > (json_int_t)limit_kinds[i].max)
            return "a limit is out of its range";
        limits->at[i] = (uint64_t)number;
        return NULL;
    }
    return "there is a limit of a name that is not known: known are time_limit, "
           "cpu_limit, memory_limit, file_size_limit, open_files_limit and process_limit";
}

const char *limits_parse(const json_t *object, struct limits *ret_limits,
                         int64_t *ret_time_limit_ms)
{
    const char *name, *why = NULL;
    json_t *value;

    memset(ret_limits, 0, sizeof(*ret_limits));
    *ret_time_limit_ms = 0;
    if (object && !json_is_object(object))
        return "a task's limits are not an object";
    json_object_foreach((json_t *)object, name, value)
    {
        if (!why)
            why = parse_member(name, value, ret_limits, ret_time_limit_ms);
    }
    return why;
}
