/* SPDX-License-Identifier: MIT */
/*
 * descriptors - how many connections there may be, so that the others who need descriptors
 * always get some.
 *
 * Clients decide how many connections there are. If they could take all descriptors
 * (RLIMIT_NOFILE), a worker that dies could not be replaced until one of them leaves. So some
 * are kept back: for the workers, and for what is opened now and then.
 */
#ifndef SERVER_DESCRIPTORS_H
#define SERVER_DESCRIPTORS_H

#include <stdint.h>

#define DESCRIPTORS_KEPT       24u /* spawning, the store, a backup, callbacks */
#define DESCRIPTORS_PER_WORKER 4u  /* its socket, its output, its pidfd; one to spare */

/* Connections beside `used` descriptors of `limit` and so many workers that are yet to come:
 * at most `wanted`, at least 1. Pure. */
unsigned descriptors_share(uint64_t limit, uint64_t used, uint64_t processes,
                           uint64_t wanted);

/* The same for this process now, in which `besides` connections more may come. Says so in the
 * log if it is less than wanted. */
unsigned descriptors_for_connections(uint64_t processes, uint64_t besides,
                                     uint64_t wanted);

#endif
