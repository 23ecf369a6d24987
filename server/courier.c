/* SPDX-License-Identifier: MIT */
/*
 * libcurl's multi interface with the loop below it: it says which descriptors it waits
 * for (on_socket) and until when (on_timeout), and is told what has happened
 * (curl_multi_socket_action).
 *
 * A descriptor's watch and the timer outlive the call that ends them: libuv closes
 * handles in its next turn. The struct is freed with the last of them.
 */
#include "server/courier.h"

#include "common/mem.h"
#include "server/webhook.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

struct post {
    TAILQ_ENTRY(post) link;
    struct courier *courier;
    CURL *easy;
    struct curl_slist *headers;
    courier_sent *on_sent;
    void *data;
    bool any_address;
    bool refused; /* the address was not allowed */
    size_t answer_len;
};

struct courier {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    TAILQ_HEAD(, post) posts;
    unsigned handles; /* of the loop, that are not closed yet */
    bool closing;
};

struct watch {
    uv_poll_t poll;
    struct courier *courier;
    curl_socket_t fd;
};

/* ---- posts ------------------------------------------------------------------------- */

static void post_free(struct post *post)
{
    TAILQ_REMOVE(&post->courier->posts, post, link);
    if (post->easy) {
        (void)curl_multi_remove_handle(post->courier->multi, post->easy);
        curl_easy_cleanup(post->easy);
    }
    curl_slist_free_all(post->headers);
    mem_free(post);
}

static void finish(struct post *post, CURLcode result)
{
    courier_sent *on_sent = post->on_sent;
    void *data = post->data;
    bool refused = post->refused, cut = post->answer_len > COURIER_ANSWER_MAX;
    long status = 0;

    (void)curl_easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, &status);
    post_free(post);
    if (result == CURLE_OK || (result == CURLE_WRITE_ERROR && cut))
        on_sent(data, status, NULL);
    else if (refused)
        on_sent(data, 0, "the host has an address that is not allowed");
    else
        on_sent(data, 0, curl_easy_strerror(result));
}

static void finish_all(struct courier *courier)
{
    CURLMsg *message;
    int left;

    while (!courier->closing && (message = curl_multi_info_read(courier->multi, &left))) {
        CURLcode result = message->data.result;
        char *post = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &post);
        finish((struct post *)(void *)post, result);
    }
}

/* ---- the loop ---------------------------------------------------------------------- */

static void on_handle_closed(struct courier *courier)
{
    if (--courier->handles || !courier->closing)
        return;
    mem_free(courier);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct courier *courier = watch->courier;

    mem_free(watch);
    on_handle_closed(courier);
}

static void act(struct courier *courier, curl_socket_t fd, int flags)
{
    int running;

    (void)curl_multi_socket_action(courier->multi, fd, flags, &running);
    finish_all(courier);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;

    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(watch->courier, watch->fd, flags);
}

static void on_time(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static struct watch *watch_new(struct courier *courier, curl_socket_t fd)
{
    struct watch *watch = mem_zalloc(sizeof(*watch));

    if (!watch)
        return NULL;
    if (uv_poll_init(courier->loop, &watch->poll, fd) != 0) {
        mem_free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->courier = courier;
    watch->fd = fd;
    courier->handles++;
    (void)curl_multi_assign(courier->multi, fd, watch);
    return watch;
}

/* Without memory for a watch the transfer ends by its time-out. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *assigned)
{
    struct courier *courier = data;
    struct watch *watch = assigned;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch) {
            (void)curl_multi_assign(courier->multi, fd, NULL);
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        }
        return 0;
    }
    if (!watch)
        watch = watch_new(courier, fd);
    if (!watch)
        return 0;
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    (void)uv_poll_start(&watch->poll, events, on_ready);
    return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *data)
{
    struct courier *courier = data;

    (void)multi;
    if (courier->closing)
        return 0;
    if (timeout_ms < 0)
        (void)uv_timer_stop(&courier->timer);
    else
        (void)uv_timer_start(&courier->timer, on_time, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ---- one transfer ------------------------------------------------------------------ */

static curl_socket_t on_open(void *data, curlsocktype purpose,
                             struct curl_sockaddr *address)
{
    struct post *post = data;

    (void)purpose;
    if (!post->any_address && !webhook_address_public(&address->addr)) {
        post->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_answer(char *bytes, size_t size, size_t count, void *data)
{
    struct post *post = data;

    (void)bytes;
    post->answer_len += size * count;
    return post->answer_len > COURIER_ANSWER_MAX ? 0 : size * count;
}

static bool set_headers(struct post *post, const struct courier_message *message)
{
    static const char *const always[] = { "Content-Type: application/json",
                                          ("User-Agent: poold/" POOLD_VERSION),
                                          "Expect:" };
    size_t count = sizeof(always) / sizeof(*always);

    for (size_t i = 0; i < count + COURIER_HEADERS_MAX; i++) {
        const char *header = i < count ? always[i] : message->headers[i - count];
        struct curl_slist *longer;

        if (!header[0])
            break;
        longer = curl_slist_append(post->headers, header);
        if (!longer)
            return false;
        post->headers = longer;
    }
    return curl_easy_setopt(post->easy, CURLOPT_HTTPHEADER, post->headers) == CURLE_OK;
}

/* A transfer that ends while its name is being resolved must not wait for the resolver's
 * thread: the loop would stand still with it. */
static bool set_quick_exit(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075700
    return curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK;
#else
    (void)easy;
    return true;
#endif
}

static CURLcode set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
                            (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static bool set_trust(CURL *easy, const char *ca_file)
{
    return !ca_file || (curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK &&
                        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK);
}

/* Each connection is for one message: whether its address is allowed is then always a
 * question of this message. */
static bool set_options(struct post *post, const struct courier_message *message)
{
    CURL *easy = post->easy;

    return curl_easy_setopt(easy, CURLOPT_URL, message->url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, post) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)message->body.len) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, message->body.at) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)message->timeout_ms) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, post) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, post) == CURLE_OK &&
           set_protocols(easy) == CURLE_OK && set_trust(easy, message->ca_file) &&
           set_quick_exit(easy) && set_headers(post, message);
}

enum status courier_send(struct courier *courier, const struct courier_message *message,
                         courier_sent *on_sent, void *data)
{
    struct post *post = mem_zalloc(sizeof(*post));

    if (!post)
        return ST_NO_MEMORY;
    post->courier = courier;
    post->on_sent = on_sent;
    post->data = data;
    post->any_address = message->any_address;
    TAILQ_INSERT_TAIL(&courier->posts, post, link);
    post->easy = curl_easy_init();
    if (!post->easy || !set_options(post, message) ||
        curl_multi_add_handle(courier->multi, post->easy) != CURLM_OK) {
        post_free(post);
        return ST_NO_MEMORY;
    }
    return ST_OK;
}

/* ---- life cycle -------------------------------------------------------------------- */

enum status courier_new(uv_loop_t *loop, struct courier **ret_courier)
{
    struct courier *courier = mem_zalloc(sizeof(*courier));

    if (!courier)
        return ST_NO_MEMORY;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        mem_free(courier);
        return ST_NO_MEMORY;
    }
    courier->multi = curl_multi_init();
    if (!courier->multi) {
        curl_global_cleanup();
        mem_free(courier);
        return ST_NO_MEMORY;
    }
    courier->loop = loop;
    TAILQ_INIT(&courier->posts);
    (void)uv_timer_init(loop, &courier->timer);
    courier->timer.data = courier;
    courier->handles = 1;
    (void)curl_multi_setopt(courier->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(courier->multi, CURLMOPT_SOCKETDATA, courier);
    (void)curl_multi_setopt(courier->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    (void)curl_multi_setopt(courier->multi, CURLMOPT_TIMERDATA, courier);
    *ret_courier = courier;
    return ST_OK;
}

void courier_free(struct courier *courier)
{
    struct post *post;

    if (!courier)
        return;
    courier->closing = true;
    while ((post = TAILQ_FIRST(&courier->posts)))
        post_free(post);
    (void)curl_multi_cleanup(courier->multi);
    curl_global_cleanup();
    uv_close((uv_handle_t *)&courier->timer, on_timer_closed);
}
