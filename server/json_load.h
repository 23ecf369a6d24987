/* SPDX-License-Identifier: MIT */
/*
 * json_load - small JSON texts as jansson's values, complete or not at all.
 *
 * jansson leaves out characters of a string or a number when its buffer cannot grow, and
 * says nothing: a value could be another one than what was sent. So it allocates with
 * mem.h, which counts what has failed, and a text during which anything has failed was not
 * read. What comes while the server runs is read through here.
 */
#ifndef SERVER_JSON_LOAD_H
#define SERVER_JSON_LOAD_H

#include "common/blob.h"

#include <jansson.h>
#include <stdbool.h>

/* Has jansson allocate with mem.h. Before anything else uses it. */
void json_load_init(void);

/* flags as for json_loadb. NULL: it is not JSON for jansson, or *ret_no_memory. The caller
 * gives the value back. */
json_t *json_load(struct text text, size_t flags, bool *ret_no_memory);

#endif
