/* SPDX-License-Identifier: MIT */
/*
 * descriptors - how many connections there may be, so that the others who need descriptors
 * always get some.
 *
 * Clients decide how many connections there are. If they could take all descriptors
 * (RLIMIT_NOFILE), a worker that dies could not be replaced until one of them leaves. So some
 * are kept back: for the workers, and for what is opened now and then. A pool that is made
 * later takes its share from the clients; one that would leave them none is refused.
 */
#ifndef SERVER_DESCRIPTORS_H
#define SERVER_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

#define DESCRIPTORS_KEPT        24u /* spawning, the store, a backup, callbacks */
#define DESCRIPTORS_PER_WORKER  4u  /* its socket, its output, its pidfd; one to spare */
#define DESCRIPTORS_PER_POOL    4u  /* of its forkserver: socket, pidfd; two to spare */
#define DESCRIPTORS_CONNECTIONS 8u  /* that a new pool has to leave to clients */

struct descriptors {
    uint64_t limit; /* RLIMIT_NOFILE */
    uint64_t used;  /* by all but clients and workers; the first forkserver's, too */
    uint64_t connections; /* that there are to be if there is room */
};

/* As it is for this process now, in which `besides` connections more may come. */
void descriptors_look(uint64_t besides, uint64_t connections,
                      struct descriptors *ret_descriptors);

/* Both are pure. more_pools: beside the first one; processes: of all of them. */

/* Connections that there may be: at most descriptors->connections, at least 1. */
unsigned descriptors_share(const struct descriptors *descriptors, uint64_t more_pools,
                           uint64_t processes);
/* Whether DESCRIPTORS_CONNECTIONS, or all that are wanted, are left to clients. */
bool descriptors_hold(const struct descriptors *descriptors, uint64_t more_pools,
                      uint64_t processes);

#endif
