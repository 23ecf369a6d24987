/* SPDX-License-Identifier: MIT */
#include "server/descriptors.h"

#include <dirent.h>
#include <limits.h>
#include <sys/resource.h>

/* What is left for connections. */
static uint64_t left(const struct descriptors *descriptors, uint64_t more_pools,
                     uint64_t processes)
{
    uint64_t kept = descriptors->used + DESCRIPTORS_KEPT +
                    more_pools * DESCRIPTORS_PER_POOL +
                    processes * DESCRIPTORS_PER_WORKER;

    return descriptors->limit > kept ? descriptors->limit - kept : 0;
}

unsigned descriptors_share(const struct descriptors *descriptors, uint64_t more_pools,
                           uint64_t processes)
{
    uint64_t share = left(descriptors, more_pools, processes);

    if (share > descriptors->connections)
        share = descriptors->connections;
    if (share < 1)
        share = 1;
    return share < UINT_MAX ? (unsigned)share : UINT_MAX;
}

bool descriptors_hold(const struct descriptors *descriptors, uint64_t more_pools,
                      uint64_t processes)
{
    uint64_t share = left(descriptors, more_pools, processes);

    return share >= DESCRIPTORS_CONNECTIONS || share >= descriptors->connections;
}

/* What cannot be counted is taken for few: DESCRIPTORS_KEPT is no exact figure either. */
static uint64_t count_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (!folder)
        return 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

void descriptors_look(uint64_t besides, uint64_t connections,
                      struct descriptors *ret_descriptors)
{
    struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    *ret_descriptors = (struct descriptors){
        .limit = limit.rlim_cur,
        .used = count_open() + besides,
        .connections = connections,
    };
}
