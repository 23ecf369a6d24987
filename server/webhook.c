/* SPDX-License-Identifier: MIT */
#include "server/webhook.h"

#include "common/clock.h"
#include "common/mem.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SECRET_PREFIX "whsec_"
#define SECRET_MADE   32 /* bytes */
#define HMAC_LEN      32
#define HOST_MAX      255 /* bytes, with brackets and the NUL */

/* ---- signing ----------------------------------------------------------------------- */

bool webhook_secret_parse(struct text text, struct webhook_secret *ret_secret)
{
    size_t prefix = sizeof(SECRET_PREFIX) - 1;
    gnutls_datum_t decoded = { NULL, 0 }, encoded;
    bool ok;

    if (text.len <= prefix || memcmp(text.at, SECRET_PREFIX, prefix) != 0)
        return false;
    encoded.data = (unsigned char *)(uintptr_t)text.at + prefix;
    encoded.size = (unsigned)(text.len - prefix);
    if (gnutls_base64_decode2(&encoded, &decoded) != GNUTLS_E_SUCCESS)
        return false;
    ok = decoded.size >= WEBHOOK_SECRET_MIN && decoded.size <= WEBHOOK_SECRET_MAX;
    if (ok) {
        memcpy(ret_secret->bytes, decoded.data, decoded.size);
        ret_secret->len = decoded.size;
    }
    gnutls_memset(decoded.data, 0, decoded.size);
    gnutls_free(decoded.data);
    return ok;
}

enum status webhook_secret_make(struct buf *out)
{
    unsigned char bytes[SECRET_MADE];
    gnutls_datum_t raw = { bytes, sizeof(bytes) }, encoded = { NULL, 0 };

    if (gnutls_rnd(GNUTLS_RND_KEY, bytes, sizeof(bytes)) != GNUTLS_E_SUCCESS ||
        gnutls_base64_encode2(&raw, &encoded) != GNUTLS_E_SUCCESS)
        return ST_NO_MEMORY;
    buf_add_str(out, SECRET_PREFIX);
    buf_add(out, encoded.data, encoded.size);
    gnutls_memset(bytes, 0, sizeof(bytes));
    gnutls_memset(encoded.data, 0, encoded.size);
    gnutls_free(encoded.data);
    return out->failed ? ST_NO_MEMORY : ST_OK;
}

enum status webhook_sign(const struct webhook_secret *secret, const char *id,
                         int64_t timestamp, struct text body,
                         char ret_signature[WEBHOOK_SIGNATURE_MAX])
{
    unsigned char mac[HMAC_LEN];
    gnutls_datum_t raw = { mac, sizeof(mac) }, encoded = { NULL, 0 };
    struct buf signed_text = BUF_INIT;
    enum status st = ST_NO_MEMORY;

    buf_addf(&signed_text, "%s.%lld.", id, (long long)timestamp);
    buf_add_text(&signed_text, body);
    if (!signed_text.failed &&
        gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret->bytes, secret->len, signed_text.data,
                         signed_text.len, mac) == GNUTLS_E_SUCCESS &&
        gnutls_base64_encode2(&raw, &encoded) == GNUTLS_E_SUCCESS) {
        (void)snprintf(ret_signature, WEBHOOK_SIGNATURE_MAX, "v1,%.*s", (int)encoded.size,
                       (const char *)encoded.data);
        st = ST_OK;
    }
    gnutls_free(encoded.data);
    buf_clear(&signed_text);
    return st;
}

/* ---- the message ------------------------------------------------------------------- */

#define TAGS ",\"tags\":"

bool webhook_trace(const char *body, char ret_trace[TRACE_MAX + 1])
{
    /* What stands before the tags is ours: of the client's bytes, it has the name of a task and
     * the trace. Neither can have the quotes of a member in it. */
    const char *tags = strstr(body, TAGS);

    return trace_find_json((struct text){ body, tags ? (size_t)(tags - body) : 0 },
                           ret_trace);
}

void webhook_write(struct buf *out, const struct job_spec *spec,
                   const struct job_status *status)
{
    const char *state = job_state_names[status->state];
    char id[UUID_TEXT_LEN + 1], at[CLOCK_TEXT_LEN + 1];

    uuid_format(spec->id, id);
    clock_format(status->finished_at_ms, at);
    buf_addf(out, "{\"type\":\"job.%s\",\"timestamp\":\"%s\",\"data\":{\"id\":\"%s\"",
             state, at, id);
    buf_addf(out, ",\"task\":\"%s\",\"state\":\"%s\"", spec->task, state);
    trace_write_json(out, spec->trace);
    /* Not through a format: these may be long. */
    buf_add_str(out, TAGS);
    buf_add_str(out, spec->tags ? spec->tags : "[]");
    buf_add_str(out, ",\"metadata\":");
    buf_add_str(out, spec->metadata ? spec->metadata : "{}");
    buf_addf(out,
             ",\"links\":{\"self\":\"/v1/jobs/%s\",\"result\":\"/v1/jobs/%s/result\"}}}",
             id, id);
}

/* ---- the operator's list ----------------------------------------------------------- */

struct entry {
    bool http;
    char host[HOST_MAX]; /* IPv6 with brackets */
    unsigned port;       /* 0: none is named */
};

/* Reads the port; false if it is not one of 1 to 65535. */
static bool read_port(struct text text, unsigned *ret_port)
{
    unsigned port = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || port > 65535)
            return false;
        port = port * 10 + (unsigned)(text.at[i] - '0');
    }
    *ret_port = port;
    return port >= 1 && port <= 65535;
}

static bool host_valid(const char *host)
{
    size_t len = strlen(host);
    char inside[HOST_MAX];
    struct in6_addr address;

    if (host[0] != '[')
        return len && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789.-_") == len;
    memcpy(inside, host + 1, len);
    inside[len - 2] = '\0';
    return inet_pton(AF_INET6, inside, &address) == 1;
}

static bool entry_parse(struct text text, struct entry *ret_entry)
{
    const char *end;
    size_t len;

    *ret_entry =
        (struct entry){ .http = text.len > 7 && strncasecmp(text.at, "http://", 7) == 0 };
    if (ret_entry->http) {
        text.at += 7;
        text.len -= 7;
    }
    end = memchr(text.at, text.len && text.at[0] == '[' ? ']' : ':', text.len);
    if (end && *end == ']')
        end++;
    len = end ? (size_t)(end - text.at) : text.len;
    if (len >= HOST_MAX || (text.len && text.at[0] == '[' && !end))
        return false;
    memcpy(ret_entry->host, text.at, len);
    ret_entry->host[len] = '\0';
    if (!host_valid(ret_entry->host))
        return false;
    if (len == text.len)
        return true;
    return text.at[len] == ':' &&
           read_port((struct text){ text.at + len + 1, text.len - len - 1 },
                     &ret_entry->port);
}

/* Takes the next entry from *rest; false at the end. */
static bool entry_next(const char **rest, struct text *ret_text)
{
    size_t len;

    *rest += strspn(*rest, ", ");
    len = strcspn(*rest, ", ");
    *ret_text = (struct text){ *rest, len };
    *rest += len;
    return len > 0;
}

const char *webhook_allow_check(const char *allow)
{
    struct entry entry;
    struct text text;

    while (entry_next(&allow, &text))
        if (!entry_parse(text, &entry))
            return "has an entry that is not [http://]HOST[:PORT]";
    return NULL;
}

/* ---- a URL ------------------------------------------------------------------------- */

struct target {
    bool http;
    char host[HOST_MAX];
    unsigned port;
};

/* Takes one part of the URL; the caller frees it with curl_free. NULL if there is none. */
static char *part(CURLU *handle, CURLUPart what, unsigned flags)
{
    char *text = NULL;

    return curl_url_get(handle, what, &text, flags) == CURLUE_OK ? text : NULL;
}

static bool target_read(CURLU *handle, struct target *ret_target)
{
    char *scheme = part(handle, CURLUPART_SCHEME, 0);
    char *host = part(handle, CURLUPART_HOST, 0);
    char *port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    bool ok = scheme && host && port && strlen(host) < HOST_MAX && host_valid(host) &&
              read_port((struct text){ port, strlen(port) }, &ret_target->port);

    if (ok) {
        ret_target->http = strcasecmp(scheme, "http") == 0;
        ok = ret_target->http || strcasecmp(scheme, "https") == 0;
        memcpy(ret_target->host, host, strlen(host) + 1);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    return ok;
}

static const char *target_parse(const char *url, struct target *ret_target)
{
    const char *wrong = "is not an http or https URL with a host";
    CURLU *handle;
    CURLUcode rc;

    for (const char *c = url; *c; c++)
        if (*c <= ' ' || *c > '~' || c - url >= WEBHOOK_URL_MAX)
            return "is not a URL of at most 2048 visible ASCII characters";
    handle = curl_url();
    if (!handle)
        return "cannot be read: out of memory";
    rc = curl_url_set(handle, CURLUPART_URL, url, CURLU_DISALLOW_USER);
    if (rc == CURLUE_USER_NOT_ALLOWED)
        wrong = "has credentials, which would be stored and sent";
    else if (rc == CURLUE_OK && target_read(handle, ret_target))
        wrong = NULL;
    curl_url_cleanup(handle);
    return wrong;
}

/* An address as it is written in a URL, as 16 bytes; false if it is a name. */
static bool literal(const char *host, struct in6_addr *ret_address)
{
    char inside[HOST_MAX];
    struct in_addr v4;
    size_t len = strlen(host);

    if (inet_pton(AF_INET, host, &v4) == 1) {
        memset(ret_address, 0, sizeof(*ret_address));
        memcpy(&ret_address->s6_addr[12], &v4, sizeof(v4));
        memset(&ret_address->s6_addr[10], 0xff, 2);
        return true;
    }
    if (host[0] != '[' || len < 3)
        return false;
    memcpy(inside, host + 1, len - 2);
    inside[len - 2] = '\0';
    return inet_pton(AF_INET6, inside, ret_address) == 1;
}

static bool same_host(const char *a, const char *b)
{
    struct in6_addr x, y;

    if (literal(a, &x) && literal(b, &y))
        return memcmp(&x, &y, sizeof(x)) == 0;
    return strcasecmp(a, b) == 0;
}

static bool is_loopback(const char *host)
{
    struct in6_addr address;

    if (!literal(host, &address))
        return strcasecmp(host, "localhost") == 0;
    return IN6_IS_ADDR_LOOPBACK(&address) ||
           (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
}

static bool port_allowed(const struct entry *entry, const struct target *target)
{
    if (entry->port)
        return target->port == entry->port;
    return target->port == 443 || target->port == 8443 || target->port == 80;
}

const char *webhook_url_check(const char *url, const char *allow,
                              struct webhook_target *ret_target)
{
    struct target target = { 0 };
    const char *refusal = target_parse(url, &target);
    struct in6_addr address;
    struct entry entry;
    struct text text;

    if (refusal)
        return refusal;
    refusal = "names a host that is not allowed (callback_allow)";
    while (allow && entry_next(&allow, &text)) {
        if (!entry_parse(text, &entry) || !same_host(entry.host, target.host))
            continue;
        if (!port_allowed(&entry, &target)) {
            refusal = "names a port that is not allowed (callback_allow)";
        } else if (target.http && !entry.http && !is_loopback(target.host)) {
            refusal = "is not https, and http is not allowed for this host "
                      "(callback_allow)";
        } else {
            ret_target->any_address =
                literal(entry.host, &address) || strcasecmp(entry.host, "localhost") == 0;
            return NULL;
        }
    }
    return refusal;
}

/* ---- addresses --------------------------------------------------------------------- */

/* What is not the public internet, or leads out of it. */
static const struct range {
    uint8_t bytes[16];
    unsigned bits;
} ranges_v4[] = {
    { { 0 }, 8 },             /* this network */
    { { 10 }, 8 },            /* private */
    { { 100, 64 }, 10 },      /* shared by carriers */
    { { 127 }, 8 },           /* this machine */
    { { 169, 254 }, 16 },     /* link-local, and clouds' metadata */
    { { 172, 16 }, 12 },      /* private */
    { { 192, 0, 0 }, 24 },    /* protocol assignments */
    { { 192, 0, 2 }, 24 },    /* documentation */
    { { 192, 88, 99 }, 24 },  /* 6to4 relays */
    { { 192, 168 }, 16 },     /* private */
    { { 198, 18 }, 15 },      /* benchmarks */
    { { 198, 51, 100 }, 24 }, /* documentation */
    { { 203, 0, 113 }, 24 },  /* documentation */
    { { 224 }, 4 },           /* multicast */
    { { 240 }, 4 },           /* reserved, broadcast */
}, ranges_v6[] = {
    { { 0 }, 96 },                                 /* ::, ::1, ::a.b.c.d */
    { { [10] = 0xff, 0xff }, 96 },                 /* mapped IPv4 */
    { { 0, 0x64, 0xff, 0x9b }, 96 },               /* NAT64 */
    { { 0, 0x64, 0xff, 0x9b, 0, 1 }, 48 },         /* NAT64 of a site */
    { { 0x01, 0 }, 64 },                           /* discarded */
    { { 0x20, 0x01 }, 23 },                        /* Teredo, ORCHID, benchmarks */
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32 },            /* documentation */
    { { 0x20, 0x02 }, 16 },                        /* 6to4 */
    { { 0x3f, 0xff }, 20 },                        /* documentation */
    { { 0xfc }, 7 },                               /* private */
    { { 0xfe, 0x80 }, 10 },                        /* link-local */
    { { 0xfe, 0xc0 }, 10 },                        /* site-local */
    { { 0xff }, 8 },                               /* multicast */
};

static bool in_ranges(const uint8_t *address, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned bytes = ranges[i].bits / 8, rest = ranges[i].bits % 8;
        uint8_t mask = (uint8_t)(0xff00 >> rest);

        if (memcmp(address, ranges[i].bytes, bytes) == 0 &&
            (!rest || (address[bytes] & mask) == (ranges[i].bytes[bytes] & mask)))
            return true;
    }
    return false;
}

bool webhook_address_public(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        return !in_ranges((const uint8_t *)&v4.sin_addr, ranges_v4,
                          sizeof(ranges_v4) / sizeof(*ranges_v4));
    }
    if (address->sa_family != AF_INET6)
        return false;
    memcpy(&v6, address, sizeof(v6));
    return !in_ranges(v6.sin6_addr.s6_addr, ranges_v6,
                      sizeof(ranges_v6) / sizeof(*ranges_v6));
}
