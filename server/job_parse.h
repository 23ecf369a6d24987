/* SPDX-License-Identifier: MIT */
/*
 * What job_json.c (a submission as a whole) and job_members.c (its members, one by one) share.
 * Nobody else includes this.
 */
#ifndef SERVER_JOB_PARSE_H
#define SERVER_JOB_PARSE_H

#include "server/job_json.h"
#include "server/json_slice.h"

#include <stdbool.h>

#define CHUNKSIZE_CPYTHON UINT64_MAX /* replaced when the number of items is known */

/* A submission that is being read. */
struct parse {
    const struct job_intake *intake;
    const struct job_rules *rules;
    struct job_spec spec; /* the draft; texts point to the strings below */
    struct refusal *refusal;
    char task[TASK_NAME_MAX + 1], pool[NAME_LEN_MAX + 1];
    char unique_key[UNIQUE_KEY_MAX + 1];
    char *tags, *metadata, *callback, *error_callback;
    bool no_memory;
};

/* Notes what is wrong with a member; `what` follows the member's name: "is not a string". */
void parse_wrong(struct parse *parse, struct text member, enum problem problem,
                 const char *what);
/* Reads one member into the draft, or notes what is wrong with it. */
void parse_member(struct parse *parse, const struct slice_member *member);

#endif
