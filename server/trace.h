/* SPDX-License-Identifier: MIT */
/*
 * trace - the header `traceparent` of W3C Trace Context: which trace a request is part of.
 * Pure.
 *
 *     00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *     version-trace id-parent id-flags, lower case hexadecimal
 */
#ifndef SERVER_TRACE_H
#define SERVER_TRACE_H

#include <stdbool.h>

#define TRACE_PARENT_LEN 55

/* Takes the header's value (NULL: there is none). False, and an empty text, if it is not
 * valid: the standard wants it ignored then. A version above 00 may have more behind these
 * fields; that is left out, and the version written as 00. */
bool trace_parent_take(const char *value, char ret_parent[TRACE_PARENT_LEN + 1]);

#endif
