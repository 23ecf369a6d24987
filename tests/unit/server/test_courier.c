/* SPDX-License-Identifier: MIT */
/* A message on its way, to a listener of this program: which addresses it may reach, and
 * what the loop is told. */
#include "server/courier.h"

#include "common/fd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    uv_loop_t loop;
    struct courier *courier;
    int listener; /* nobody accepts: the kernel does, and nothing is answered */
    char url[64];
    unsigned times;
    long status;
    char error[128];
};

static int set_up(void **state)
{
    static struct rig rig;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);

    memset(&rig, 0, sizeof(rig));
    assert_int_equal(uv_loop_init(&rig.loop), 0);
    assert_int_equal(courier_new(&rig.loop, &rig.courier), ST_OK);
    rig.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(rig.listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(rig.listener, 4), 0);
    assert_int_equal(getsockname(rig.listener, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(rig.url, sizeof(rig.url), "http://127.0.0.1:%u/x",
                   (unsigned)ntohs(address.sin_port));
    *state = &rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    courier_free(rig->courier);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    fd_close(&rig->listener);
    return 0;
}

static void on_sent(void *data, long status, const char *error)
{
    struct rig *rig = data;

    rig->times++;
    rig->status = status;
    (void)snprintf(rig->error, sizeof(rig->error), "%s", error ? error : "");
}

static void start(struct rig *rig, bool any_address, int64_t timeout_ms)
{
    struct courier_message message = { .url = rig->url,
                                       .body = TEXT("{}"),
                                       .any_address = any_address,
                                       .timeout_ms = timeout_ms };

    assert_int_equal(courier_send(rig->courier, &message, on_sent, rig), ST_OK);
    assert_int_equal(rig->times, 0);
}

static void wait_for_answer(struct rig *rig)
{
    while (!rig->times)
        uv_run(&rig->loop, UV_RUN_ONCE);
    assert_int_equal(rig->times, 1);
}

static void an_address_that_is_not_public_gets_no_connection(void **state)
{
    struct rig *rig = *state;

    start(rig, false, 60000);
    wait_for_answer(rig);
    assert_int_equal(rig->status, 0);
    assert_string_equal(rig->error, "the host has an address that is not allowed");
    assert_int_equal(accept(rig->listener, NULL, NULL), -1);
}

static void an_answer_that_does_not_come_ends_by_the_time_limit(void **state)
{
    struct rig *rig = *state;
    int connection;

    start(rig, true, 50);
    wait_for_answer(rig);
    assert_int_equal(rig->status, 0);
    assert_true(rig->error[0]);
    connection = accept(rig->listener, NULL, NULL);
    assert_true(connection >= 0);
    fd_close(&connection);
}

static void a_refused_connection_is_told(void **state)
{
    struct rig *rig = *state;

    fd_close(&rig->listener);
    start(rig, true, 60000);
    wait_for_answer(rig);
    assert_int_equal(rig->status, 0);
    assert_true(rig->error[0]);
}

static void what_is_on_its_way_is_given_up_without_a_call(void **state)
{
    struct rig *rig = *state;

    start(rig, true, 60000);
    uv_run(&rig->loop, UV_RUN_ONCE);
    courier_free(rig->courier);
    rig->courier = NULL;
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    assert_int_equal(rig->times, 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_address_that_is_not_public_gets_no_connection),
        CASE(an_answer_that_does_not_come_ends_by_the_time_limit),
        CASE(a_refused_connection_is_told),
        CASE(what_is_on_its_way_is_given_up_without_a_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
