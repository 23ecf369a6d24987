/* SPDX-License-Identifier: MIT */
#include "server/feed.h"

#include "common/buf.h"
#include "common/mem.h"

#include <assert.h>

struct feed_part {
    TAILQ_ENTRY(feed_part) link;
    uint64_t first;
    uint32_t count, done;
    struct buf text;
    uint32_t offsets[FEED_PART_ITEMS]; /* of the items in text */
};

void feed_init(struct feed *feed)
{
    *feed = (struct feed){ .count = 0 };
    TAILQ_INIT(&feed->parts);
}

static void part_drop(struct feed *feed, struct feed_part *part)
{
    TAILQ_REMOVE(&feed->parts, part, link);
    feed->bytes -= part->text.len;
    buf_clear(&part->text);
    mem_free(part);
}

void feed_clear(struct feed *feed)
{
    while (!TAILQ_EMPTY(&feed->parts))
        part_drop(feed, TAILQ_FIRST(&feed->parts));
}

static struct feed_part *part_new(struct feed *feed)
{
    struct feed_part *part = mem_alloc(sizeof(*part));

    if (!part)
        return NULL;
    part->first = feed->count;
    part->count = part->done = 0;
    part->text = (struct buf)BUF_INIT;
    TAILQ_INSERT_TAIL(&feed->parts, part, link);
    return part;
}

enum status feed_add(struct feed *feed, struct text item)
{
    struct feed_part *part = TAILQ_LAST(&feed->parts, feed_parts);
    size_t len;

    if (!part || part->count == FEED_PART_ITEMS || part->text.len >= FEED_PART_BYTES)
        part = part_new(feed);
    if (!part)
        return ST_NO_MEMORY;
    len = part->text.len;
    if (!buf_reserve(&part->text, item.len + 1)) {
        part->text.failed = false;
        if (!part->count)
            part_drop(feed, part);
        return ST_NO_MEMORY;
    }
    if (part->count)
        buf_add_char(&part->text, ',');
    part->offsets[part->count++] = (uint32_t)part->text.len;
    buf_add_text(&part->text, item);
    feed->bytes += part->text.len - len;
    feed->all_bytes += item.len;
    feed->count++;
    return ST_OK;
}

/* What waits or runs is in few parts, and mostly in the first. */
static struct feed_part *part_of(const struct feed *feed, uint64_t item)
{
    struct feed_part *part;

    TAILQ_FOREACH (part, &feed->parts, link)
        if (item < part->first + part->count)
            break;
    assert(part && item >= part->first);
    return part;
}

uint64_t feed_run(const struct feed *feed, uint64_t first)
{
    const struct feed_part *part = part_of(feed, first);

    return part->first + part->count - first;
}

struct text feed_items(const struct feed *feed, uint64_t first, uint64_t count)
{
    const struct feed_part *part = part_of(feed, first);
    size_t i = (size_t)(first - part->first), next = i + (size_t)count;
    size_t begin = part->offsets[i];
    size_t end = next < part->count ? part->offsets[next] - 1 : part->text.len;

    assert(count >= 1 && next <= part->count);
    return (struct text){ part->text.data + begin, end - begin };
}

void feed_done(struct feed *feed, uint64_t first, uint64_t count)
{
    while (count > 0) {
        struct feed_part *part = part_of(feed, first);
        uint64_t some = part->first + part->count - first;

        some = some < count ? some : count;
        part->done += (uint32_t)some;
        assert(part->done <= part->count);
        if (part->done == part->count)
            part_drop(feed, part);
        first += some;
        count -= some;
    }
}
