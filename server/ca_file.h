/* SPDX-License-Identifier: MIT */
/*
 * ca_file - the certificates that the receivers of callbacks are trusted by, in a file of the
 * operator. It is read by libcurl for each connection; here it is only looked at, so that a
 * wrong one is found at the start and not by the first delivery.
 */
#ifndef SERVER_CA_FILE_H
#define SERVER_CA_FILE_H

#include "common/status.h"

/* err names the file. ST_INVALID: it cannot be read, or holds no certificate in PEM. */
NODISCARD enum status ca_file_check(const char *path, struct error_text *err);

#endif
