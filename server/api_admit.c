/* SPDX-License-Identifier: MIT */
/*
 * Who may come in: each request whose headers are well-formed, before its body is read.
 *
 *     room    on max_connections            else 503, but for /healthz, /readyz, /metrics
 *     Host    one of allowed_hosts          else 421
 *     Origin  the server's own, if any      else 403, for what changes something
 *     key     valid                         else 401, with one text for all that can be wrong
 *     rate    not used up                   else 429
 *     others  of the key: max_key_requests  else 429
 *     scope   that the route needs          else 403
 *
 * Without keys only the first three are asked. What a key may see of jobs is looked at where
 * they are found (api_sees), and what it may run where the job is read.
 */
#include "server/api.h"

#include "server/address.h"
#include "server/keys.h"

#include <string.h>
#include <strings.h>

#define SCHEME_BEARER "Bearer "

/* ---- Host and Origin --------------------------------------------------------------- */

/* The length of the host in "host:port"; an IPv6 address is in brackets. */
static size_t host_len(const char *host)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;

    return end ? (size_t)(end + 1 - host) : strcspn(host, ":");
}

static bool is_one_of(const char *host, size_t len, const char *list)
{
    while (list) {
        size_t each = strcspn(list, ",");

        if (each == len && strncasecmp(host, list, len) == 0)
            return true;
        list = list[each] ? list + each + 1 : NULL;
    }
    return false;
}

/* A page that has made its name lead to this machine reaches a server that listens for this
 * machine only, and the browser takes the two for one. What it cannot do is change Host. */
static bool host_allowed(const struct api *api, const char *host)
{
    const struct config *config = api->config;
    size_t len = host ? host_len(host) : 0;

    if (!host) /* HTTP/1.0, no browser */
        return true;
    if (config->allowed_hosts)
        return is_one_of(host, len, config->allowed_hosts);
    if (keys_required(api->keys) || !address_is_loopback(config->listen_host))
        return true;
    return is_one_of(host, len, "localhost,127.0.0.1,[::1]") ||
           is_one_of(host, len, config->listen_host);
}

/* That of the server itself, as the client calls it; a proxy may have taken the TLS off. */
static bool origin_allowed(const char *origin, const char *host)
{
    if (!origin)
        return true;
    if (strncasecmp(origin, "http://", 7) == 0)
        origin += 7;
    else if (strncasecmp(origin, "https://", 8) == 0)
        origin += 8;
    else
        return false;
    return host && strcasecmp(origin, host) == 0;
}

/* ---- keys -------------------------------------------------------------------------- */

/* NULL: there is none that holds. */
static const struct key *key_of(const struct api *api, const struct request *request)
{
    const char *value = request_header(request, "Authorization");

    if (!value || strncasecmp(value, SCHEME_BEARER, sizeof(SCHEME_BEARER) - 1) != 0)
        return NULL;
    value += sizeof(SCHEME_BEARER) - 1;
    return keys_verify(api->keys, value + strspn(value, " "));
}

static const char *scope_text(unsigned scope)
{
    unsigned i = 0;

    while (!(scope & (1u << i)))
        i++;
    return scope_names[i];
}

static enum problem admit_key(struct api *api, struct request *request,
                              const struct route *route, struct error_text *err)
{
    struct request_tag *tag = request_tag(request);
    const struct key *key = key_of(api, request);
    struct allowance allowance;
    bool taken;

    if (!key) {
        (void)error_set(err, ST_DENIED,
                        "send Authorization: Bearer and a key that is valid");
        return PROBLEM_UNAUTHORIZED;
    }
    tag->owner = key->id;
    tag->scopes = key->scopes;
    taken = keys_take(api->keys, key, &allowance);
    tag->rate = allowance.rate;
    tag->remaining = allowance.remaining;
    tag->reset_s = allowance.reset_s;
    if (!taken) {
        (void)error_set(err, ST_LIMIT, "this key may send %llu requests in a second",
                        (unsigned long long)key->rate);
        return PROBLEM_RATE_LIMITED;
    }
    tag->counted = keys_begin(api->keys, key, api->config->max_key_requests);
    if (!tag->counted) {
        (void)error_set(err, ST_LIMIT, "this key has max_key_requests requests, %llu",
                        (unsigned long long)api->config->max_key_requests);
        return PROBLEM_TOO_MANY_REQUESTS;
    }
    if (!route || (key->scopes & (route->scope | SCOPE_ADMIN)))
        return PROBLEM_COUNT;
    (void)error_set(err, ST_DENIED, "this key lacks the scope %s",
                    scope_text(route->scope));
    return PROBLEM_FORBIDDEN;
}

/* What tells how the server is, it tells while it is crowded, too. */
static bool is_vital(const struct route *route)
{
    return route && (route->handle == api_healthz || route->handle == api_readyz ||
                     route->handle == api_metrics);
}

enum problem api_admit(void *data, struct request *request, struct error_text *err)
{
    struct api *api = data;
    struct request_tag *tag = request_tag(request);
    const struct route *route = tag->route;
    const char *host = request_header(request, "Host");
    enum http_method method = request_method(request);

    if (!request_is_admin(request) && http_is_crowded(api->http) && !is_vital(route)) {
        (void)error_set(err, ST_LIMIT, "max_connections have requests");
        return PROBLEM_TOO_MANY_CONNECTIONS;
    }
    if (!host_allowed(api, host)) {
        (void)error_set(err, ST_DENIED,
                        "Host is %.80s, which is not one of allowed_hosts", host);
        return PROBLEM_UNKNOWN_HOST;
    }
    if (method != HTTP_GET && method != HTTP_OPTIONS &&
        !origin_allowed(request_header(request, "Origin"), host)) {
        (void)error_set(err, ST_DENIED, "Origin names another host than Host does");
        return PROBLEM_FORBIDDEN_ORIGIN;
    }
    if (!keys_required(api->keys)) {
        tag->scopes = SCOPE_ADMIN;
        return PROBLEM_COUNT;
    }
    if (route && !route->scope)
        return PROBLEM_COUNT;
    return admit_key(api, request, route, err);
}

/* ---- what it may do then ----------------------------------------------------------- */

uint64_t api_owner(struct request *request)
{
    return request_tag(request)->owner;
}

uint64_t api_only_owner(struct request *request)
{
    const struct request_tag *tag = request_tag(request);

    return tag->scopes & SCOPE_ADMIN ? 0 : tag->owner;
}

bool api_sees(struct request *request, uint64_t owner)
{
    uint64_t only = api_only_owner(request);

    return !only || owner == only;
}

const struct key *api_key(const struct api *api, struct request *request)
{
    uint64_t owner = api_owner(request);

    return owner ? keys_find(api->keys, owner) : NULL;
}

bool api_may_run(const struct api *api, struct request *request, const char *task)
{
    const struct key *key = api_key(api, request);

    return key ? key_may_run(key, task) : !api_owner(request);
}

bool api_over_quota(const struct api *api, struct request *request, size_t jobs,
                    uint64_t bytes)
{
    const struct key *key = api_key(api, request);
    struct dispatch_usage usage;

    if (!key || (!key->max_queued && !key->max_queued_bytes))
        return false;
    usage = dispatch_usage(api->dispatch, key->id);
    return (key->max_queued && usage.jobs + jobs > key->max_queued) ||
           (key->max_queued_bytes && usage.bytes + bytes > key->max_queued_bytes);
}

void api_quota_problem(const struct api *api, struct request *request)
{
    const struct key *key = api_key(api, request);
    char detail[160];

    (void)snprintf(detail, sizeof(detail),
                   "this key may have %llu jobs and %llu bytes of inputs that are not "
                   "over (0: any number)",
                   (unsigned long long)(key ? key->max_queued : 0),
                   (unsigned long long)(key ? key->max_queued_bytes : 0));
    api_problem_retry(request, PROBLEM_QUOTA_EXCEEDED, detail);
}
