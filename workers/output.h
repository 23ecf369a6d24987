/* SPDX-License-Identifier: MIT */
/*
 * output - what a worker's process writes to its stdout and stderr.
 *
 * Both are one pipe, which the loop drains as fast as it is filled, 64 KiB for a turn of
 * the loop, so that a task that prints without end waits for nobody for long and holds up
 * nobody else. Only the last OUTPUT_KEEP bytes are kept, since only these are ever told:
 * with an attempt that failed, and in the log when a worker is lost.
 *
 * The mark is where the output of the current item begins: it is set when the worker has
 * told an outcome. Outcomes and output come on different ways, so a line that is written
 * just around an outcome may be counted to the neighbour.
 */
#ifndef WORKERS_OUTPUT_H
#define WORKERS_OUTPUT_H

#include "common/blob.h"
#include "common/status.h"

#include <stddef.h>
#include <uv.h>

#define OUTPUT_KEEP 4096 /* bytes */

struct output;

/* A pipe that is being drained. The caller owns *ret_end, the end to write to. */
NODISCARD enum status output_open(uv_loop_t *loop, struct output **ret_output,
                                  int *ret_end);
/* Nobody reads any more. The memory goes in the loop's next turn. NULL is fine. */
void output_close(struct output *output);

/* Reads what is in the pipe now. */
void output_drain(struct output *output);
/* What comes from here on is of the next item. */
void output_mark(struct output *output);
/* The last bytes since the mark, in bytes, at most OUTPUT_KEEP. */
struct text output_tail(const struct output *output, char bytes[OUTPUT_KEEP]);

#endif
