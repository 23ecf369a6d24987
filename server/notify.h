/* SPDX-License-Identifier: MIT */
/*
 * notify - tells systemd how the service is: sd_notify(3).
 *
 * The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names, and promised
 * to stay as it is; so a library is not needed for it. Without that variable, not under
 * systemd, nothing is sent.
 *
 *     READY=1      jobs are taken; also when a reload is over
 *     RELOADING=1  SIGHUP: the tasks are looked at
 *     STOPPING=1   SIGTERM: draining
 *     WATCHDOG=1   twice in each WATCHDOG_USEC, by a timer of the loop: a loop that hangs
 *                  does not send it, and is restarted
 *
 * All of it happens on the loop's thread. Nothing is waited for: a datagram that cannot be
 * sent is lost.
 */
#ifndef SERVER_NOTIFY_H
#define SERVER_NOTIFY_H

#include "common/status.h"

#include <uv.h>

struct notify;

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment: they are not
 * for children. *ret_notify is NULL, with ST_OK, if nobody is to be told. ST_INVALID: the
 * variables make no sense; ST_IO, ST_NO_MEMORY. In all that follows NULL does nothing. */
NODISCARD enum status notify_new(uv_loop_t *loop, struct notify **ret_notify,
                                 struct error_text *err);
/* The handle closes in the loop's next turns. */
void notify_free(struct notify *notify);

/* The first time, the watchdog's timer starts. */
void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify);
void notify_stopping(struct notify *notify);

#endif
