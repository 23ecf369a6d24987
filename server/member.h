/* SPDX-License-Identifier: MIT */
/*
 * member - reading members of a request's object, and noting what is wrong with them:
 * what job_json and pool_json share. Pure.
 */
#ifndef SERVER_MEMBER_H
#define SERVER_MEMBER_H

#include "server/refusal.h"
#include "workers/task.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define NAME_LEN_MAX 64 /* of a pool */

/* A lower-case letter, then up to 63 of a-z 0-9 _ . : - */
bool name_valid(const char *name, size_t len);
/* The member as jansson's value, for the caller to give back. NULL: it is refused as out of
 * range, or memory is short (refusal->no_memory). */
json_t *member_value(struct refusal *refusal, const struct slice_member *member);
/* Copies the name, or refuses and leaves ret_name as it was. Read from the slice: every
 * request has one, and a tree for it costs more than all the rest of the envelope. A name
 * has no character that JSON has to escape; one written with escapes all the same is
 * decoded first. */
void member_name(struct refusal *refusal, const struct slice_member *member,
                 char ret_name[NAME_LEN_MAX + 1]);
/* The same for the name of a task (task_name_valid). */
void member_task(struct refusal *refusal, const struct slice_member *member,
                 char ret_name[TASK_NAME_MAX + 1]);
/* Seconds as a number up to a year, from 0 or, if not `zero_is_fine`, above it; refuses
 * and returns false if not. */
bool member_seconds(struct refusal *refusal, const struct slice_member *member,
                    const json_t *value, bool zero_is_fine, int64_t *ret_ms);
#define MEMBER_SECONDS_MAX 31536000.0 /* the longest delay, time limit, ... */

#endif
