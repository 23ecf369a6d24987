/* SPDX-License-Identifier: MIT */
#include "server/descriptors.h"

#include "common/log.h"

#include <dirent.h>
#include <limits.h>
#include <sys/resource.h>

unsigned descriptors_share(uint64_t limit, uint64_t used, uint64_t processes,
                           uint64_t wanted)
{
    uint64_t kept = used + DESCRIPTORS_KEPT + processes * DESCRIPTORS_PER_WORKER;
    uint64_t share = limit > kept ? limit - kept : 1;

    if (share > wanted)
        share = wanted;
    return share < UINT_MAX ? (unsigned)share : UINT_MAX;
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

unsigned descriptors_for_connections(uint64_t processes, uint64_t besides,
                                     uint64_t wanted)
{
    struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
    unsigned share;

    (void)getrlimit(RLIMIT_NOFILE, &limit);
    share = descriptors_share(limit.rlim_cur, count_open() + besides, processes, wanted);
    if (share < wanted)
        log_info("descriptors allow fewer connections than max_connections",
                 "connections=%u max_connections=%llu open_files=%llu", share,
                 (unsigned long long)wanted, (unsigned long long)limit.rlim_cur);
    return share;
}
