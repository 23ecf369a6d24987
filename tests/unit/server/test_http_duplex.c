/* SPDX-License-Identifier: MIT */
/*
 * Requests that are fed, with the library, a loop, and a client that is a socket in this
 * process: so that it can do things between two steps of the server.
 */
#include "server/http.h"

#include "common/clock.h"
#include "server/http_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_NS (60 * NS_PER_SEC) /* a test that takes longer has failed */

struct rig {
    uv_loop_t loop;
    uv_timer_t tick;
    struct http *http;
    uint64_t deadline_ns; /* of uv_hrtime, which no test stops */
    int client;
    struct request *request;
    bool closed;

    char body[4096], answer[4096]; /* what came, here and there */
    size_t body_len, answer_len;
    size_t takes;    /* bytes that are taken at most; SIZE_MAX: all */
    bool answers_at; /* the first byte begins a stream; else nothing does */
    bool refuses;    /* the first byte is answered with a problem */
    const char *says;
    bool ends;   /* the stream, when all is said */
    bool resets; /* the client breaks off in the very moment in which it ends */
    bool works;  /* at what the client waits for */
    unsigned ended, freed, stream_freed, left;
    enum intake_end end;
};

static void client_resets(struct rig *rig)
{
    struct linger linger = { 1, 0 };

    assert_int_equal(
        setsockopt(rig->client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(rig->client);
    rig->client = -1;
}

static ptrdiff_t pull(void *data, char *out, size_t cap)
{
    struct rig *rig = data;
    size_t n = strlen(rig->says);

    assert_true(n <= cap);
    if (n) {
        memcpy(out, rig->says, n);
        rig->says = "";
        return (ptrdiff_t)n;
    }
    if (rig->ends && rig->resets)
        client_resets(rig);
    return rig->ends ? STREAM_END : STREAM_WAIT;
}

static void on_stream_free(void *data)
{
    ((struct rig *)data)->stream_freed++;
}

static void on_left(void *data)
{
    struct rig *rig = data;

    assert_int_equal(rig->stream_freed, 0);
    rig->left++;
}

static void answer(struct rig *rig)
{
    struct reply reply;

    reply_init(&reply, rig->refuses ? 422 : 200, "text/plain");
    reply_header(&reply, "X-Test", "yes");
    if (rig->refuses) {
        buf_add_str(&reply.body, "no");
        request_reply(rig->request, &reply);
    } else {
        request_watch(rig->request, on_left, rig);
        request_stream(rig->request, &reply, pull, on_stream_free, rig);
    }
}

static size_t on_bytes(void *data, const char *bytes, size_t len)
{
    struct rig *rig = data;
    size_t n = len < rig->takes ? len : rig->takes;
    bool first = !rig->body_len;

    memcpy(rig->body + rig->body_len, bytes, n);
    rig->body_len += n;
    rig->takes -= rig->takes == SIZE_MAX ? 0 : n;
    if (first && (rig->answers_at || rig->refuses))
        answer(rig);
    return n;
}

static void on_end(void *data, enum intake_end end)
{
    struct rig *rig = data;

    rig->ended++;
    rig->end = end;
}

static bool is_waiting(void *data)
{
    return !((const struct rig *)data)->works;
}

static void on_free(void *data)
{
    struct rig *rig = data;

    assert_true(rig->ended || rig->refuses);
    rig->freed++;
    rig->request = NULL;
}

static void on_request(void *data, struct request *request)
{
    static const struct intake intake = { on_bytes, on_end, is_waiting, on_free };
    struct rig *rig = data;

    assert_true(request_is_fed(request));
    rig->request = request;
    request_take(request, &intake, rig);
}

static bool is_fed(void *data, struct request *request)
{
    (void)data;
    return request_method(request) == HTTP_POST;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_closed(void *data)
{
    ((struct rig *)data)->closed = true;
}

static void turn(struct rig *rig)
{
    ssize_t n = 0;

    uv_run(&rig->loop, UV_RUN_ONCE);
    if (rig->client >= 0)
        n = recv(rig->client, rig->answer + rig->answer_len,
                 sizeof(rig->answer) - 1 - rig->answer_len, MSG_DONTWAIT);
    if (n > 0)
        rig->answer_len += (size_t)n;
    rig->answer[rig->answer_len] = '\0';
    if (uv_hrtime() > rig->deadline_ns)
        fail_msg("the condition has not come true; answer: %s", rig->answer);
}

#define WAIT(rig, condition)                                                             \
    do {                                                                                 \
        while (!(condition))                                                             \
            turn(rig);                                                                   \
    } while (0)

static void client_sends(struct rig *rig, const char *text)
{
    assert_int_equal(send(rig->client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void begin(struct rig *rig)
{
    client_sends(rig, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "3\r\nabc\r\n");
    WAIT(rig, rig->body_len);
}

static int set_up(void **state)
{
    struct http_options options = { .host = "127.0.0.1",
                                    .max_body_bytes = 2,
                                    .gate = { 2048, 64, 8192 },
                                    .max_connections = 10,
                                    .idle_timeout_s = 1,
                                    .header_timeout_ms = 10000,
                                    .body_timeout_ms = 60000,
                                    .answer_timeout_ms = 60000,
                                    .is_fed = is_fed };
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct rig *rig = calloc(1, sizeof(*rig));
    struct error_text err = { "" };

    assert_non_null(rig);
    rig->deadline_ns = uv_hrtime() + LIMIT_NS;
    rig->says = "";
    rig->takes = SIZE_MAX;
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    uv_timer_init(&rig->loop, &rig->tick);
    uv_timer_start(&rig->tick, on_tick, 1, 1);
    assert_int_equal(http_open(&rig->loop, &options, on_request, rig, &rig->http, &err),
                     ST_OK);
    address.sin_port = htons(http_port(rig->http));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    rig->client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(rig->client, (struct sockaddr *)&address, sizeof(address)),
                     0);
    *state = rig;
    return 0;
}

static void close_server(struct rig *rig)
{
    http_close(rig->http, on_closed, rig);
    rig->http = NULL;
    WAIT(rig, rig->closed);
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    clock_fake(0, 0);
    if (rig->http)
        close_server(rig);
    if (rig->client >= 0)
        close(rig->client);
    uv_close((uv_handle_t *)&rig->tick, NULL);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0); /* no handle is left */
    assert_null(rig->request);
    free(rig);
    return 0;
}

static bool client_is_closed(struct rig *rig)
{
    char byte;

    return recv(rig->client, &byte, 1, MSG_DONTWAIT) == 0;
}

static void answer_comes_while_the_body_does(void **state)
{
    struct rig *rig = *state;

    rig->answers_at = true;
    rig->says = "one";
    begin(rig);
    WAIT(rig, strstr(rig->answer, "one"));
    assert_memory_equal(rig->answer, "HTTP/1.1 200 OK\r\n", 17);
    assert_non_null(strstr(rig->answer, "\r\nX-Test: yes\r\n"));
    assert_non_null(strstr(rig->answer, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_int_equal(rig->ended, 0);
    client_sends(rig, "2\r\nde\r\n0\r\n\r\n");
    WAIT(rig, rig->ended);
    assert_int_equal(rig->end, INTAKE_COMPLETE);
    assert_memory_equal(rig->body, "abcde", 5);
    rig->says = "two";
    rig->ends = true;
    request_wake(rig->request);
    WAIT(rig, rig->freed);
    WAIT(rig, client_is_closed(rig));
    assert_non_null(
        strstr(rig->answer, "00000003\r\none\r\n00000003\r\ntwo\r\n0\r\n\r\n"));
    assert_int_equal(rig->stream_freed, 1);
    assert_int_equal(rig->left, 0);
}

static void what_is_not_taken_comes_again(void **state)
{
    struct rig *rig = *state;

    rig->answers_at = true;
    rig->takes = 2;
    begin(rig);
    client_sends(rig, "2\r\nde\r\n");
    for (unsigned i = 0; i < 20; i++)
        turn(rig);
    assert_int_equal(rig->body_len, 2);
    rig->takes = SIZE_MAX;
    request_take_more(rig->request);
    request_take_more(rig->request);
    WAIT(rig, rig->body_len == 5);
    assert_memory_equal(rig->body, "abcde", 5);
}

static void problem_in_the_middle_can_be_read_and_the_rest_is_thrown_away(void **state)
{
    struct rig *rig = *state;

    rig->refuses = true;
    begin(rig);
    WAIT(rig, strstr(rig->answer, "\r\n\r\nno"));
    assert_non_null(strstr(rig->answer, "HTTP/1.1 422 "));
    assert_non_null(strstr(rig->answer, "\r\nContent-Length: 2\r\n"));
    client_sends(rig, "2\r\nde\r\n");
    WAIT(rig, client_is_closed(rig) || rig->freed);
    assert_int_equal(rig->body_len, 3);
    WAIT(rig, rig->freed); /* after idle_timeout, or less */
    assert_int_equal(rig->ended, 0);
}

static void client_that_breaks_off_at_the_very_end_is_told_of_once(void **state)
{
    struct rig *rig = *state;

    rig->answers_at = true;
    begin(rig);
    rig->ends = rig->resets = true;
    request_wake(rig->request);
    WAIT(rig, rig->freed);
    assert_int_equal(rig->stream_freed, 1);
    assert_int_equal(rig->left, 0); /* it is over: nobody is left to be told */
    assert_int_equal(rig->ended, 1);
}

static void client_that_leaves_is_noticed(void **state)
{
    struct rig *rig = *state;

    rig->answers_at = true;
    begin(rig);
    client_resets(rig);
    WAIT(rig, rig->freed);
    assert_int_equal(rig->stream_freed, 1);
    assert_int_equal(rig->ended, 1);
    assert_int_equal(rig->end, INTAKE_BROKEN);
}

static void client_that_sends_nothing_is_idle(void **state)
{
    struct rig *rig = *state;

    rig->answers_at = true;
    begin(rig);
    WAIT(rig, rig->ended);
    assert_int_equal(rig->end, INTAKE_IDLE);
    assert_int_equal(rig->freed, 0);
    rig->ends = true;
    request_wake(rig->request);
    WAIT(rig, client_is_closed(rig));
    WAIT(rig, rig->freed);
}

/* It could not send anything before: it waited for what it was sent. */
static void client_is_idle_from_the_last_that_it_was_sent_on(void **state)
{
    struct rig *rig = *state;
    uint64_t began_ns;

    rig->answers_at = rig->works = true;
    begin(rig);
    began_ns = clock_mono_ns();
    clock_fake(began_ns, 0);
    http_duplex_look(rig->http);
    clock_fake(began_ns + 900 * NS_PER_MS, 0);
    rig->works = false;
    rig->says = "one";
    request_wake(rig->request);
    WAIT(rig, strstr(rig->answer, "one"));
    clock_fake(began_ns + 1900 * NS_PER_MS, 0);
    http_duplex_look(rig->http);
    assert_int_equal(rig->ended, 0);
    clock_fake(began_ns + 1901 * NS_PER_MS, 0);
    http_duplex_look(rig->http);
    assert_int_equal(rig->ended, 1);
    assert_int_equal(rig->end, INTAKE_IDLE);
}

static void body_without_bytes_ends(void **state)
{
    struct rig *rig = *state;

    client_sends(rig, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    WAIT(rig, rig->ended);
    assert_int_equal(rig->end, INTAKE_COMPLETE);
    rig->refuses = true;
    answer(rig);
    WAIT(rig, strstr(rig->answer, "\r\n\r\nno"));
    WAIT(rig, rig->freed);
}

static void server_that_stops_ends_all(void **state)
{
    struct rig *rig = *state;

    rig->answers_at = true;
    rig->takes = 1; /* suspended, too */
    begin(rig);
    close_server(rig);
    assert_int_equal(rig->ended, 1);
    assert_int_equal(rig->freed, 1);
    assert_int_equal(rig->stream_freed, 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(answer_comes_while_the_body_does),
        CASE(what_is_not_taken_comes_again),
        CASE(problem_in_the_middle_can_be_read_and_the_rest_is_thrown_away),
        CASE(client_that_breaks_off_at_the_very_end_is_told_of_once),
        CASE(client_that_leaves_is_noticed),
        CASE(client_that_sends_nothing_is_idle),
        CASE(client_is_idle_from_the_last_that_it_was_sent_on),
        CASE(body_without_bytes_ends),
        CASE(server_that_stops_ends_all),
    };

    return cmocka_run_group_tests_name("http_duplex", tests, NULL, NULL);
}
