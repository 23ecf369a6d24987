/* SPDX-License-Identifier: MIT */
/*
 * address - "HOST:PORT" as people write it. Pure: nothing is resolved.
 */
#ifndef SERVER_ADDRESS_H
#define SERVER_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct address {
    char host[INET6_ADDRSTRLEN]; /* numeric, IPv6 without brackets */
    uint16_t port;
};

/* Reads 127.0.0.1:8080, [::1]:8080 or localhost:8080 (which is 127.0.0.1). Returns NULL,
 * or why not, to go behind the text: "is not ..."; *ret_address is untouched then. */
const char *address_parse(const char *text, struct address *ret_address);
/* host as in struct address: only this machine can reach it (127.0.0.0/8, ::1). */
bool address_is_loopback(const char *host);
/* host as in struct address: every address of this machine (0.0.0.0, ::). */
bool address_is_wildcard(const char *host);

#endif
