/* SPDX-License-Identifier: MIT */
/*
 * event_run - events as they are stored: many in one text, a line for each. Pure.
 *
 *     ID KIND JOB STATE TOTAL COMPLETED FAILED OWNER\n
 *
 * Separated by single spaces: numbers in decimal, names as clients know them, the job's id as
 * UUID. A durable job has three events, and a row for each of them would cost the store more
 * than the job itself.
 */
#ifndef SERVER_EVENT_RUN_H
#define SERVER_EVENT_RUN_H

#include "common/blob.h"
#include "server/event.h"

#include <stdbool.h>

/* Adds a line; out->failed without memory. What the event says is not stored. */
void event_run_add(struct buf *out, const struct event *event);
/* Takes the next line off *rest that is an event; others are damaged, and left out. False at
 * the end. */
bool event_run_next(struct text *rest, struct event *ret_event);

#endif
