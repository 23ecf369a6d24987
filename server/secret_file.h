/* SPDX-License-Identifier: MIT */
/*
 * secret_file - the secret that callbacks are signed with, in a file: one line, "whsec_"
 * and base64. Never on a command line, where every process could read it.
 */
#ifndef SERVER_SECRET_FILE_H
#define SERVER_SECRET_FILE_H

#include "common/status.h"
#include "server/webhook.h"

#define SECRET_FILE_NAME "callback.secret"

/* err names the file. ST_INVALID: it cannot be read, or holds no such secret. */
NODISCARD enum status secret_file_read(const char *path,
                                       struct webhook_secret *ret_secret,
                                       struct error_text *err);
/* That of the directory; made for its owner alone if it is missing, and told in the log.
 * ST_IO: it cannot be written; ST_INVALID: as above; ST_NO_MEMORY. */
NODISCARD enum status secret_file_make(const char *dir, struct webhook_secret *ret_secret,
                                       struct error_text *err);

#endif
