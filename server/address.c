/* SPDX-License-Identifier: MIT */
#include "server/address.h"

#include <arpa/inet.h>
#include <string.h>

/* At most five digits, so that nothing overflows. */
static bool parse_port(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 5 || text[digits])
        return false;
    for (; *text; text++)
        port = port * 10 + (unsigned long)(*text - '0');
    *ret_port = (uint16_t)port;
    return port <= UINT16_MAX;
}

const char *address_parse(const char *text, struct address *ret_address)
{
    static const char localhost[] = "127.0.0.1";
    struct address address = { 0 };
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool brackets = len >= 2 && text[0] == '[' && colon[-1] == ']';
    struct in6_addr binary; /* large enough for both families */

    if (!colon || !parse_port(colon + 1, &address.port))
        return "is not HOST:PORT with a port in 0..65535";
    if (brackets) {
        text++;
        len -= 2;
    }
    if (!brackets && memchr(text, ':', len))
        return "is an IPv6 address without brackets; they go as in [::1]:8080";
    if (len == 0)
        return "has no host; 127.0.0.1 is this machine alone, 0.0.0.0 every interface";
    if (len < sizeof(address.host))
        memcpy(address.host, text, len);
    if (!brackets && strcmp(address.host, "localhost") == 0)
        memcpy(address.host, localhost, sizeof(localhost));
    if (inet_pton(brackets ? AF_INET6 : AF_INET, address.host, &binary) != 1)
        return "has a host that is neither a numeric address nor localhost";
    *ret_address = address;
    return NULL;
}

bool address_is_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;

    if (inet_pton(AF_INET, host, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == IN_LOOPBACKNET;
    return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

bool address_is_wildcard(const char *host)
{
    struct in_addr four;
    struct in6_addr six;

    if (inet_pton(AF_INET, host, &four) == 1)
        return four.s_addr == htonl(INADDR_ANY);
    return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_UNSPECIFIED(&six);
}
