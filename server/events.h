/* SPDX-License-Identifier: MIT */
/*
 * events - what has happened to jobs lately, and those who follow it.
 *
 * The newest EVENTS_KEPT events are in a ring, so that a reader who was away goes on
 * where he was. Readers hold a place in the ring and no copies: a slow one costs nothing,
 * and is cut off when EVENTS_BEHIND_MAX events have come that he has not read.
 *
 * Commit, then tell: an event of a durable job has its place and its id before it is
 * committed (events_add, not told yet), and is told after that (events_tell) or never
 * (events_drop). Readers see ids that only rise, so they wait at an event that is not
 * told yet.
 *
 * Ids begin at the wall time in microseconds when the server starts: so they rise over
 * restarts, although nobody remembers the last one that was given out.
 */
#ifndef SERVER_EVENTS_H
#define SERVER_EVENTS_H

#include "common/status.h"
#include "server/event.h"

#include <stdbool.h>
#include <uv.h>

#define EVENTS_KEPT          10000
#define EVENTS_BEHIND_MAX    5000 /* more than a batch of jobs has */
#define EVENTS_KEEP_ALIVE_MS 15000

struct events;

/* NULL without memory. */
struct events *events_new(uv_loop_t *loop, int64_t now_ms);
/* There must be no reader. The memory goes in the loop's next turn. NULL is fine. */
void events_free(struct events *events);
/* An event of an earlier run, in order of id. Before any other use. */
void events_restore(struct events *events, const struct event *event);

/* Gives the event its id and its place; its id is returned, and set in *event. What it says
 * is kept by a reference of its own. */
uint64_t events_add(struct events *events, struct event *event, bool told);
/* What becomes of an event that was not told yet. */
void events_tell(struct events *events, uint64_t id);
void events_drop(struct events *events, uint64_t id);
uint64_t events_newest(const struct events *events); /* id */

/* ---- readers ----------------------------------------------------------------------- */

struct event_reader;

struct event_from {
    const struct uuid *job; /* NULL: of all jobs */
    uint64_t owner;         /* only of this one's; 0: of everybody's */
    bool resumes;   /* behind the event `after`; else from now on, for a job from */
    uint64_t after; /* its oldest one that is kept */
};

/* on_wake: there is something to read again after EVENT_READ_NOTHING. *count is raised
 * until the reader is closed. NULL without memory. */
struct event_reader *event_reader_open(struct events *events,
                                       const struct event_from *from, size_t *count,
                                       void (*on_wake)(void *data), void *data);
void event_reader_close(struct event_reader *reader); /* NULL is fine */

/* Whether events between the one he resumes behind and the oldest may be missing, or were
 * never given out here. The next one follows *ret_behind then. */
bool event_reader_missed(const struct event_reader *reader, uint64_t *ret_behind);
/* Whether what is still to be read of his job ends with its end; or is nothing. */
bool event_reader_sees_end(const struct event_reader *reader);
bool event_reader_sees_nothing(const struct event_reader *reader);

enum event_read {
    EVENT_READ,         /* *ret_event is the next one, valid until the next add */
    EVENT_READ_NOTHING, /* wait */
    EVENT_READ_QUIET, /* nothing, for so long that the connection wants a sign of life */
    EVENT_READ_CUT,   /* too far behind, or the server stops: the end */
};
enum event_read event_reader_next(struct event_reader *reader,
                                  const struct event **ret_event);

/* A sign of life for all that wait; a timer calls it. */
void events_keep_alive(struct events *events);
/* Cuts all readers off. */
void events_end(struct events *events);

#endif
