/* SPDX-License-Identifier: MIT */
/*
 * refusal - why a request was refused: a problem, with a pointer to each member that is
 * wrong (RFC 9457 `errors`, RFC 6901). Pure.
 */
#ifndef SERVER_REFUSAL_H
#define SERVER_REFUSAL_H

#include "common/buf.h"
#include "server/json_slice.h"
#include "server/problem.h"

#include <stdbool.h>
#include <stdint.h>

struct refusal {
    enum problem problem;
    char detail[256];  /* of the first thing that is wrong */
    struct buf errors; /* elements of the problem's `errors`, separated by commas */
    unsigned error_count;
    bool
        no_memory; /* something could not be read for lack of memory: not the client's fault */
    int64_t
        element; /* of the outermost array, which the members are of; -1: it is none */
};

void refusal_init(struct refusal *refusal);
void refusal_clear(struct refusal *refusal);

#define WHOLE ((struct text){ NULL, 0 })

/* A member is wrong, or element `index` of it (-1: all of it); `what` follows its name:
 * "is not a string". WHOLE is the document, or the element that is read. The
 * first one is also the problem's detail; several different ones are
 * `validation-failed`. Without memory to say so it is PROBLEM_NO_MEMORY, without errors. */
void refusal_add(struct refusal *refusal, struct text member, int64_t index,
                 enum problem problem, const char *what);
/* The text as a whole was not accepted; limits are those of the scan, or NULL. */
void refusal_of_text(struct refusal *refusal, enum slice_verdict verdict,
                     const struct slice_error *error, const struct slice_limits *limits);

#endif
