/* SPDX-License-Identifier: MIT */
/*
 * output - what a worker's process writes to its stdout and stderr.
 *
 * Both are one pipe, which the loop drains as fast as it is filled, 64 KiB for a turn of
 * the loop, so that a task that prints without end waits for nobody for long and holds up
 * nobody else. Of what was not taken yet, only so many bytes are kept, the last.
 *
 * Outcomes come on another way than output. With each the worker says how much had been
 * printed by then (page_printed), and what lies before that is the item's, to the byte.
 */
#ifndef WORKERS_OUTPUT_H
#define WORKERS_OUTPUT_H

#include "common/blob.h"
#include "common/status.h"
#include "workers/page.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define OUTPUT_KEEP (64u * 1024) /* bytes that are kept if nobody says otherwise */

struct output;

/* A pipe that is being drained, of which the last `kept` bytes are, at least 1; the page, which
 * stays the caller's, is told. The caller owns *ret_end, the end to write to. */
NODISCARD enum status output_open(uv_loop_t *loop, struct worker_page *page, size_t kept,
                                  struct output **ret_output, int *ret_end);
/* Nobody reads any more. The memory goes in the loop's next turn. NULL is fine. */
void output_close(struct output *output);

/* Reads what is in the pipe now. */
void output_drain(struct output *output);

/* What was printed since the last take, up to where `printed` says (page_printed): the
 * last bytes of it, valid until the loop goes on. *ret_cut: there was more. It
 * is read from the pipe if it has to be. Costs nothing if nothing was printed. */
struct text output_take(struct output *output, uint32_t printed, bool *ret_cut);
/* The same of all that is there, with what is in the pipe. */
struct text output_take_all(struct output *output, bool *ret_cut);
/* All that is there, without taking it. */
struct text output_peek(struct output *output, bool *ret_cut);

#endif
