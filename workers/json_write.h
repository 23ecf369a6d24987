/* SPDX-License-Identifier: MIT */
/*
 * json_write - jansson's values as JSON text, with numbers as everywhere else in poold:
 * 0.1 stays 0.1, where json_dumps makes it 0.10000000000000001.
 */
#ifndef WORKERS_JSON_WRITE_H
#define WORKERS_JSON_WRITE_H

#include "common/buf.h"

#include <jansson.h>

/* Appends the value. Strings are not checked: jansson lets through what is no UTF-8 if it is
 * told to. ST_LIMIT: nested deeper than SLICE_DEPTH_MAX, or around in a circle;
 * ST_INVALID: a real that is not finite. Without memory the buffer has failed. */
NODISCARD enum status json_write(struct buf *out, const json_t *value);

#endif
