/* SPDX-License-Identifier: MIT */
#include "server/health.h"

#include "server/address.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS     3000L
#define BODY_SHOWN_MAX 300 /* bytes; the rest of an answer is not read */

/* Docker reserves 2. */
enum { EXIT_READY, EXIT_NOT_READY };

/* Where a server that listens on this address is reached from its own machine. */
static enum status url_of_listen(const char *listen, bool tls, struct buf *ret_url,
                                 struct error_text *err)
{
    const char *scheme = "http";
    struct address address;
    const char *reason = address_parse(listen, &address);
    const char *host = address.host;

    if (reason)
        return error_set(err, ST_INVALID, "POOLD_LISTEN: \"%.80s\" %s", listen, reason);
    if (tls)
        scheme = "https";
    if (address_is_wildcard(host))
        host = strchr(host, ':') ? "::1" : "127.0.0.1";
    buf_addf(ret_url, strchr(host, ':') ? "%s://[%s]:%u/readyz" : "%s://%s:%u/readyz",
             scheme, host, (unsigned)address.port);
    return ret_url->failed ? error_set(err, ST_NO_MEMORY, "out of memory") : ST_OK;
}

enum status health_url(const char *url, const char *listen, bool tls, struct buf *ret_url,
                       struct error_text *err)
{
    const char *scheme_end, *path;

    if (!url)
        return url_of_listen(listen ? listen : "127.0.0.1:8080", tls, ret_url, err);
    scheme_end = strstr(url, "://");
    if (!*url || url[0] == '-' || url[0] == '/')
        return error_set(err, ST_INVALID, "\"%.80s\" is not a URL", url);
    if (scheme_end && strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return error_set(err, ST_INVALID, "\"%.80s\" is neither http:// nor https://",
                         url);
    if (!scheme_end)
        buf_add_str(ret_url, "http://");
    buf_add_str(ret_url, url);
    path = strchr(scheme_end ? scheme_end + 3 : url, '/');
    if (!path)
        buf_add_str(ret_url, "/readyz");
    else if (path[1] == '\0')
        buf_add_str(ret_url, "readyz");
    return ret_url->failed ? error_set(err, ST_NO_MEMORY, "out of memory") : ST_OK;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *body)
{
    struct buf *out = body;
    size_t len = size * count;
    size_t room = BODY_SHOWN_MAX - out->len;

    buf_add(out, bytes, len < room ? len : room);
    return len;
}

/* One line, whatever the other side sent. */
static void make_printable(struct buf *body)
{
    for (size_t i = 0; i < body->len; i++) {
        unsigned char c = (unsigned char)body->data[i];

        if (c < ' ' || c == 0x7f)
            body->data[i] = ' ';
    }
}

/* own: the server is the one of this machine, whose certificate is not made for that name. */
static int ask(CURL *curl, const char *url, bool own)
{
    struct buf body = BUF_INIT;
    char why[CURL_ERROR_SIZE] = "";
    long code = 0;
    CURLcode result;

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (own) {
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    make_printable(&body);
    if (result != CURLE_OK)
        printf("not ready: %s: %s\n", url, why[0] ? why : curl_easy_strerror(result));
    else if (code == 200)
        printf("ready\n");
    else
        printf("not ready: %s: %ld %s\n", url, code, body.len ? body.data : "");
    buf_clear(&body);
    return result == CURLE_OK && code == 200 ? EXIT_READY : EXIT_NOT_READY;
}

int health_main(int argc, char **argv)
{
    struct buf url = BUF_INIT;
    struct error_text err = { "" };
    CURL *curl;
    int code = EXIT_NOT_READY;

    if (argc > 1 || health_url(argc ? argv[0] : NULL, getenv("POOLD_LISTEN"),
                               getenv("POOLD_TLS_CERT") != NULL, &url, &err) != ST_OK) {
        fprintf(stderr, "poold health: %s\nUsage: poold health [URL]\n",
                argc > 1 ? "too many arguments" : err.text);
        buf_clear(&url);
        return EXIT_NOT_READY;
    }
    curl = curl_easy_init();
    if (curl)
        code = ask(curl, url.data, argc == 0);
    else
        printf("not ready: out of memory\n");
    curl_easy_cleanup(curl);
    buf_clear(&url);
    return code;
}
