/* SPDX-License-Identifier: MIT */
/*
 * request_id - the name under which a request is found in the log: the client's own
 * (X-Request-Id), if it is harmless, else one that is made. Pure.
 */
#ifndef SERVER_REQUEST_ID_H
#define SERVER_REQUEST_ID_H

#include <stdbool.h>
#include <stdint.h>

#define REQUEST_ID_MAX 64 /* bytes without the NUL */

/* Takes 1 to REQUEST_ID_MAX letters, digits and -._~:+/=@ ; false for anything else. */
bool request_id_take(const char *value, char ret_id[REQUEST_ID_MAX + 1]);
/* 16 hexadecimal digits. *state is anything at first, best of all random; ids that are made
 * from one state differ. */
void request_id_make(uint64_t *state, char ret_id[REQUEST_ID_MAX + 1]);

#endif
