/* SPDX-License-Identifier: MIT */
#include "workers/output.h"

#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define READ_LEN (64u * 1024) /* what a pipe holds, unless somebody has changed that */
/* A writer that never stops must not keep us here. */
#define DRAIN_READS 4

struct output {
    uv_poll_t poll;
    int fd;
    bool ended;
    uint64_t total;         /* bytes read so far */
    uint64_t mark;          /* of them before the current item */
    char ring[OUTPUT_KEEP]; /* byte number n is at n % OUTPUT_KEEP */
};

static void keep(struct output *output, const char *bytes, size_t len)
{
    size_t skip = len > OUTPUT_KEEP ? len - OUTPUT_KEEP : 0;

    output->total += skip;
    bytes += skip;
    len -= skip;
    while (len > 0) {
        size_t at = output->total % OUTPUT_KEEP;
        size_t n = len < OUTPUT_KEEP - at ? len : OUTPUT_KEEP - at;

        memcpy(output->ring + at, bytes, n);
        output->total += n;
        bytes += n;
        len -= n;
    }
}

/* Whether there may be more. */
static bool read_once(struct output *output)
{
    char bytes[READ_LEN];
    ssize_t n;

    if (output->ended)
        return false;
    do
        n = read(output->fd, bytes, sizeof(bytes));
    while (n == -1 && errno == EINTR);
    if (n > 0) {
        keep(output, bytes, (size_t)n);
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

enum status output_open(uv_loop_t *loop, struct output **ret_output, int *ret_end)
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
}

void output_drain(struct output *output)
{
    for (int i = 0; i < DRAIN_READS && read_once(output); i++)
        ;
}

void output_mark(struct output *output)
{
    output->mark = output->total;
}

struct text output_tail(const struct output *output, char bytes[OUTPUT_KEEP])
{
    uint64_t len = output->total - output->mark;

    if (len > OUTPUT_KEEP)
        len = OUTPUT_KEEP;
    for (uint64_t i = 0; i < len; i++)
        bytes[i] = output->ring[(output->total - len + i) % OUTPUT_KEEP];
    return (struct text){ bytes, (size_t)len };
}
