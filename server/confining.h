/* SPDX-License-Identifier: MIT */
/*
 * confining - how the settings have tasks confined (workers/confine.h), and the folder and
 * the control group in which workers make theirs.
 *
 * The name of both comes from that of the data folder, so that a server that was killed
 * leaves nothing that the next one on the same data does not find and empty.
 */
#ifndef SERVER_CONFINING_H
#define SERVER_CONFINING_H

#include "server/config.h"
#include "workers/confine.h"

struct confining;

/* Reads the settings, and makes the group, which forkservers are told of. ST_INVALID,
 * ST_NO_MEMORY, with err set. config must stay. */
NODISCARD enum status confining_new(const struct config *config,
                                    struct confining **ret_confining,
                                    struct error_text *err);
/* Makes the folder, empty, and clears what an earlier server has left in the group. Once
 * this server owns the data folder, and before a worker is started. ST_DENIED, ST_IO. */
NODISCARD enum status confining_open(struct confining *confining, struct error_text *err);
/* Removes both. When the workers have gone. NULL is fine. */
void confining_free(struct confining *confining);

/* What forkservers are told; it stays as long as the struct. */
const struct confinement *confining_plan(const struct confining *confining);
/* Says in the log what is in force. */
void confining_log(const struct confining *confining);

#endif
