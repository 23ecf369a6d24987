/* SPDX-License-Identifier: MIT */
/*
 * health - `poold health [URL]`: asks a server whether it can commit and dispatch, for
 * health checks of containers, which have no curl.
 */
#ifndef SERVER_HEALTH_H
#define SERVER_HEALTH_H

#include "common/buf.h"
#include "common/status.h"

#include <stdbool.h>

/* argv[0] is the first argument after "health". Asks for at most 3 seconds, without a
 * proxy. Returns the exit code: 0 and "ready" on stdout when the answer is 200, else 1
 * and one line that says what it was; for a wrong argument that line and the usage go to
 * stderr. */
int health_main(int argc, char **argv);

/* The URL to ask. `url` as given, or NULL; without a path it is that of /readyz, without
 * a scheme http. When it is NULL, `listen` as in the setting tells the port and address,
 * and when that is NULL too the defaults hold; with `tls` it is https then. */
NODISCARD enum status health_url(const char *url, const char *listen, bool tls,
                                 struct buf *ret_url, struct error_text *err);

#endif
