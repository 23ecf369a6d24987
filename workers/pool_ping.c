/* SPDX-License-Identifier: MIT */
/*
 * Does the forkserver still serve?
 *
 * One that is stopped, or hangs, ends nothing: its socket stays open, and nobody learns of
 * workers that die. So it is asked, PING_PERIOD_NS after the last answer, and has
 * PING_LIMIT_NS to answer; anything that it says counts. One that is silent is killed, and
 * then it is as with every forkserver that has ended.
 *
 * It is not asked before it has answered anything: until then it loads the tasks, and the
 * limit for the start of a worker is what it is held to.
 *
 * A server that was stopped itself, and comes back late, must not take its own silence for
 * that of others: whoever was stopped with it has had no time to answer.
 */
#include "workers/pool_internal.h"

#include "common/clock.h"
#include "common/log.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PING_PERIOD_NS (2 * NS_PER_SEC)
#define PING_LIMIT_NS  (5 * NS_PER_SEC)
#define PING_LATE_NS   (1 * NS_PER_SEC) /* a timer as late as this was not running */

void pool_ping_reset(struct pool *pool)
{
    pool->ping_open = false;
    pool->ping_ns = UINT64_MAX;
}

void pool_ping_heard(struct pool *pool, uint64_t now)
{
    bool first = pool->ping_ns == UINT64_MAX;

    pool->ping_open = false;
    pool->ping_ns = now + PING_PERIOD_NS;
    if (first)
        pool_wake_at(pool, pool->ping_ns, now);
}

uint64_t pool_ping_tend(struct pool *pool, uint64_t now)
{
    if (now < pool->ping_ns)
        return pool->ping_ns;
    if (!pool->ping_open) {
        forkserver_ping(&pool->forkserver);
        pool->ping_open = true;
        pool->ping_ns = now + PING_LIMIT_NS;
    } else if (now - pool->ping_ns >= PING_LATE_NS) {
        pool->ping_ns = now + PING_LIMIT_NS;
    } else {
        log_error("forkserver does not answer, killing it", "pool=%s forkserver=%d",
                  pool->name, (int)pool->forkserver.pid);
        syscall(SYS_pidfd_send_signal, pool->forkserver.pidfd, SIGKILL, NULL, 0);
        pool_ping_reset(pool); /* the end of its socket is next */
    }
    return pool->ping_ns;
}
