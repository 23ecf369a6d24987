/* SPDX-License-Identifier: MIT */
#include "server/events.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>
#include <sys/queue.h>

enum told { NOT_YET, TOLD, DROPPED };

struct place {
    struct event event;
    enum told told;
};

TAILQ_HEAD(reader_list, event_reader);

struct events {
    uv_timer_t timer;
    struct reader_list readers;
    uint64_t head, tail; /* event number n is at n % EVENTS_KEPT: [tail, head) are kept */
    uint64_t last_id;
    uint64_t floor; /* all events with a larger id are kept */
    bool ended;
    struct place ring[EVENTS_KEPT];
};

struct event_reader {
    TAILQ_ENTRY(event_reader) link;
    struct events *events;
    bool has_job;
    struct uuid job;
    uint64_t owner;  /* 0: any */
    uint64_t next;   /* number */
    unsigned unread; /* that were told since he last had read all */
    bool waits, quiet, missed;
    size_t *count;
    void (*on_wake)(void *data);
    void *data;
};

static struct place *place_at(struct events *events, uint64_t number)
{
    return &events->ring[number % EVENTS_KEPT];
}

/* The number of the first event with a larger id. */
static uint64_t number_behind(struct events *events, uint64_t id)
{
    uint64_t low = events->tail, high = events->head;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (place_at(events, middle)->event.id <= id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Lets go of the oldest one. */
static void drop_oldest(struct events *events)
{
    struct event *event = &place_at(events, events->tail++)->event;

    events->floor = event->id;
    blob_unref(event->said);
}

/* ---- life -------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
    events_keep_alive(timer->data);
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

struct events *events_new(uv_loop_t *loop, int64_t now_ms)
{
    struct events *events = mem_zalloc(sizeof(*events));

    if (!events)
        return NULL;
    TAILQ_INIT(&events->readers);
    events->last_id = events->floor = (uint64_t)now_ms * 1000;
    (void)uv_timer_init(loop, &events->timer);
    events->timer.data = events;
    return events;
}

void events_free(struct events *events)
{
    if (!events)
        return;
    assert(TAILQ_EMPTY(&events->readers));
    while (events->tail < events->head)
        drop_oldest(events);
    uv_close((uv_handle_t *)&events->timer, on_closed);
}

/* ---- events ------------------------------------------------------------------------ */

static void append(struct events *events, const struct event *event, enum told told)
{
    if (events->head - events->tail == EVENTS_KEPT)
        drop_oldest(events);
    *place_at(events, events->head++) = (struct place){ *event, told };
    blob_ref(event->said);
    if (event->id > events->last_id)
        events->last_id = event->id;
}

void events_restore(struct events *events, const struct event *event)
{
    if (events->head == 0) /* what is older has never been, unless this one is dropped */
        events->floor = 0;
    append(events, event, TOLD);
}

static bool concerns(const struct event_reader *reader, const struct event *event)
{
    return (!reader->has_job || uuid_equal(reader->job, event->job)) &&
           (!reader->owner || reader->owner == event->owner);
}

static void wake(struct event_reader *reader)
{
    if (!reader->waits)
        return;
    reader->waits = false;
    reader->on_wake(reader->data);
}

static void tell_readers(struct events *events, const struct event *event)
{
    struct event_reader *reader;

    TAILQ_FOREACH (reader, &events->readers, link) {
        if (event && !concerns(reader, event))
            continue;
        reader->unread += event != NULL;
        wake(reader);
    }
}

uint64_t events_add(struct events *events, struct event *event, bool told)
{
    event->id = events->last_id + 1;
    append(events, event, told ? TOLD : NOT_YET);
    if (told)
        tell_readers(events, event);
    return event->id;
}

static void settle(struct events *events, uint64_t id, enum told told)
{
    uint64_t number = number_behind(events, id - 1);
    struct place *place = place_at(events, number);

    if (number == events->head || place->event.id != id)
        return; /* so much has happened meanwhile that it is not kept any more */
    assert(place->told == NOT_YET);
    place->told = told;
    if (told == TOLD)
        tell_readers(events, &place->event);
    /* Others may have waited behind it. */
    tell_readers(events, NULL);
}

void events_tell(struct events *events, uint64_t id)
{
    settle(events, id, TOLD);
}

void events_drop(struct events *events, uint64_t id)
{
    settle(events, id, DROPPED);
}

uint64_t events_newest(const struct events *events)
{
    return events->last_id;
}

/* ---- readers ----------------------------------------------------------------------- */

struct event_reader *event_reader_open(struct events *events,
                                       const struct event_from *from, size_t *count,
                                       void (*on_wake)(void *data), void *data)
{
    struct event_reader *reader = mem_zalloc(sizeof(*reader));

    if (!reader)
        return NULL;
    reader->events = events;
    reader->has_job = from->job != NULL;
    reader->owner = from->owner;
    if (from->job)
        reader->job = *from->job;
    reader->missed =
        from->resumes && (from->after < events->floor || from->after > events->last_id);
    if (from->resumes && from->after <= events->last_id)
        reader->next = number_behind(events, from->after);
    else
        reader->next = from->job || from->resumes ? events->tail : events->head;
    reader->on_wake = on_wake;
    reader->data = data;
    reader->count = count;
    ++*count;
    if (TAILQ_EMPTY(&events->readers))
        uv_timer_start(&events->timer, on_timer, EVENTS_KEEP_ALIVE_MS,
                       EVENTS_KEEP_ALIVE_MS);
    TAILQ_INSERT_TAIL(&events->readers, reader, link);
    return reader;
}

void event_reader_close(struct event_reader *reader)
{
    struct events *events;

    if (!reader)
        return;
    events = reader->events;
    TAILQ_REMOVE(&events->readers, reader, link);
    if (TAILQ_EMPTY(&events->readers))
        uv_timer_stop(&events->timer);
    --*reader->count;
    mem_free(reader);
}

bool event_reader_missed(const struct event_reader *reader, uint64_t *ret_behind)
{
    *ret_behind = reader->events->floor;
    return reader->missed;
}

/* The last event of his that is still to be read; NULL if there is none. */
static const struct event *last_ahead(const struct event_reader *reader)
{
    struct events *events = reader->events;

    for (uint64_t n = events->head; n > reader->next && n > events->tail; n--) {
        const struct place *place = place_at(events, n - 1);

        if (place->told != DROPPED && concerns(reader, &place->event))
            return &place->event;
    }
    return NULL;
}

bool event_reader_sees_end(const struct event_reader *reader)
{
    const struct event *last = last_ahead(reader);

    return last && job_state_final(last->state);
}

bool event_reader_sees_nothing(const struct event_reader *reader)
{
    return last_ahead(reader) == NULL;
}

/* Moves on to the next event that is for him; NULL if there is none now. */
static const struct event *step(struct event_reader *reader)
{
    struct events *events = reader->events;

    while (reader->next < events->head) {
        struct place *place = place_at(events, reader->next);

        if (place->told == NOT_YET)
            return NULL;
        reader->next++;
        if (place->told == TOLD && concerns(reader, &place->event))
            return &place->event;
    }
    return NULL;
}

enum event_read event_reader_next(struct event_reader *reader,
                                  const struct event **ret_event)
{
    struct events *events = reader->events;
    bool quiet = reader->quiet;

    if ((!reader->has_job && !reader->owner) || reader->unread > 0) {
        if (reader->next < events->tail || reader->unread > EVENTS_BEHIND_MAX)
            return EVENT_READ_CUT;
    } else if (reader->next < events->tail) {
        reader->next = events->tail; /* all that went was not for him */
    }
    *ret_event = events->ended ? NULL : step(reader);
    reader->quiet = false;
    if (*ret_event) {
        reader->unread -= reader->unread > 0;
        return EVENT_READ;
    }
    if (events->ended)
        return EVENT_READ_CUT;
    reader->unread = 0;
    if (quiet)
        return EVENT_READ_QUIET;
    reader->waits = true;
    return EVENT_READ_NOTHING;
}

void events_keep_alive(struct events *events)
{
    struct event_reader *reader;

    TAILQ_FOREACH (reader, &events->readers, link) {
        if (!reader->waits)
            continue;
        reader->quiet = true;
        wake(reader);
    }
}

void events_end(struct events *events)
{
    events->ended = true;
    tell_readers(events, NULL);
}
