/* SPDX-License-Identifier: MIT */
#include "workers/output.h"

#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define READ_LEN (64u * 1024) /* what a pipe holds, unless somebody has changed that */
/* A writer that never stops must not keep us here. */
#define DRAIN_READS 4

struct output {
    uv_poll_t poll;
    struct worker_page *page;
    int fd;
    bool ended;
    uint64_t total; /* bytes read so far */
    uint64_t mark;  /* of them taken */
    size_t kept;    /* bytes of the ring */
    char *ring;     /* byte number n is at n % kept; NULL until
                      * something is printed */
    char *unrolled; /* the same, for what begins before the ring's end */
};

static void keep(struct output *output, const char *bytes, size_t len)
{
    size_t skip = len > output->kept ? len - output->kept : 0;

    output->total += skip;
    bytes += skip;
    len -= skip;
    while (len > 0) {
        size_t at = output->total % output->kept;
        size_t n = len < output->kept - at ? len : output->kept - at;

        memcpy(output->ring + at, bytes, n);
        output->total += n;
        bytes += n;
        len -= n;
    }
}

/* Without memory nothing is kept, and all counts as cut. */
static void take_in(struct output *output, const char *bytes, size_t len)
{
    if (!output->ring) {
        output->ring = mem_alloc(output->kept);
        output->unrolled = mem_alloc(output->kept);
    }
    if (output->ring && output->unrolled)
        keep(output, bytes, len);
    else
        output->mark = output->total += len;
}

/* Whether there may be more. */
static bool read_once(struct output *output)
{
    char bytes[READ_LEN];
    ssize_t n;

    if (output->ended)
        return false;
    page_reading(output->page);
    do
        n = read(output->fd, bytes, sizeof(bytes));
    while (n == -1 && errno == EINTR);
    page_has_read(output->page, n > 0 ? (uint64_t)n : 0);
    if (n > 0) {
        take_in(output, bytes, (size_t)n);
        return true;
    }
    if (n == 0 || errno != EAGAIN) { /* the task may close its descriptors and go on */
        output->ended = true;
        uv_poll_stop(&output->poll);
    }
    return false;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    (void)read_once(poll->data);
}

enum status output_open(uv_loop_t *loop, struct worker_page *page, size_t kept,
                        struct output **ret_output, int *ret_end)
{
    struct output *output = mem_zalloc(sizeof(*output));
    int pair[2] = { -1, -1 };

    if (!output)
        return ST_NO_MEMORY;
    if (pipe2(pair, O_CLOEXEC) == -1 || fd_set_nonblock(pair[0], true) != ST_OK ||
        uv_poll_init(loop, &output->poll, pair[0]) != 0) {
        fd_close(&pair[0]);
        fd_close(&pair[1]);
        mem_free(output);
        return ST_IO;
    }
    output->page = page;
    output->kept = kept;
    output->fd = pair[0];
    output->poll.data = output;
    uv_poll_start(&output->poll, UV_READABLE, on_readable);
    *ret_output = output;
    *ret_end = pair[1];
    return ST_OK;
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void output_close(struct output *output)
{
    if (!output)
        return;
    uv_close((uv_handle_t *)&output->poll, on_closed);
    fd_close(&output->fd);
    mem_free(output->ring);
    mem_free(output->unrolled);
    output->ring = output->unrolled = NULL;
}

void output_drain(struct output *output)
{
    for (int i = 0; i < DRAIN_READS && read_once(output); i++)
        ;
}

/* The bytes from the mark up to `end`, as far as they are still in the ring. */
static struct text part(struct output *output, uint64_t end, bool *ret_cut)
{
    uint64_t from = output->mark, kept_from;
    size_t at, head;

    kept_from = output->total > output->kept ? output->total - output->kept : 0;
    *ret_cut = from < kept_from && from < end;
    if (from < kept_from)
        from = kept_from < end ? kept_from : end;
    if (from == end)
        return (struct text){ NULL, 0 };
    at = from % output->kept;
    if (at + (end - from) <= output->kept)
        return (struct text){ output->ring + at, (size_t)(end - from) };
    head = output->kept - at;
    memcpy(output->unrolled, output->ring + at, head);
    memcpy(output->unrolled + head, output->ring, (size_t)(end - from) - head);
    return (struct text){ output->unrolled, (size_t)(end - from) };
}

struct text output_take(struct output *output, uint32_t printed, bool *ret_cut)
{
    uint64_t end = output->mark + (uint32_t)(printed - (uint32_t)output->mark);
    struct text text;

    *ret_cut = false;
    if (end == output->mark)
        return (struct text){ NULL, 0 };
    if (end > output->total)
        output_drain(output);
    if (end > output->total) /* somebody else has read it, or the worker lies */
        end = output->total;
    text = part(output, end, ret_cut);
    output->mark = end;
    return text;
}

struct text output_take_all(struct output *output, bool *ret_cut)
{
    struct text text;

    output_drain(output);
    text = part(output, output->total, ret_cut);
    output->mark = output->total;
    return text;
}

struct text output_peek(struct output *output, bool *ret_cut)
{
    output_drain(output);
    return part(output, output->total, ret_cut);
}
