/* SPDX-License-Identifier: MIT */
/*
 * access_log - a line of the log for a request that is over. What it holds: who asked for
 * what, and how it went. What it never holds: headers, the query, bodies, and of a key that
 * was sent more than its id, and that of one that holds.
 */
#ifndef SERVER_ACCESS_LOG_H
#define SERVER_ACCESS_LOG_H

#include "server/config.h"
#include "server/http.h"

/* route: as the API writes it; NULL if none matches. */
void access_log_write(enum access_log_mode mode, const char *route,
                      const struct http_record *record);

#endif
