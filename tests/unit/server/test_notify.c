/* SPDX-License-Identifier: MIT */
#include "server/notify.h"

#include "common/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_NS (20 * NS_PER_SEC)

struct manager {
    uv_loop_t loop;
    int socket;
    char path[64];
    struct notify *notify;
    struct error_text err;
};

/* A socket as systemd's; its name is in NOTIFY_SOCKET. */
static void listen_at(struct manager *manager, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(name);

    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    manager->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(manager->socket, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static int set_up(void **state)
{
    static struct manager manager;

    manager = (struct manager){ .socket = -1 };
    (void)snprintf(manager.path, sizeof(manager.path), "/tmp/poold-notify-%d",
                   (int)getpid());
    (void)unlink(manager.path);
    assert_int_equal(uv_loop_init(&manager.loop), 0);
    *state = &manager;
    return 0;
}

static int tear_down(void **state)
{
    struct manager *manager = *state;

    notify_free(manager->notify);
    (void)uv_run(&manager->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&manager->loop), 0);
    if (manager->socket >= 0)
        close(manager->socket);
    (void)unlink(manager->path);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return 0;
}

static enum status make(struct manager *manager)
{
    return notify_new(&manager->loop, &manager->notify, &manager->err);
}

/* The next datagram; "" if there is none. */
static const char *next(struct manager *manager)
{
    static char text[256];
    ssize_t len = recv(manager->socket, text, sizeof(text) - 1, 0);

    text[len > 0 ? len : 0] = '\0';
    return text;
}

static void without_a_manager_nothing_is_told(void **state)
{
    struct manager *manager = *state;

    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(make(manager), ST_OK);
    assert_null(manager->notify);
    notify_ready(NULL);
    notify_reloading(NULL);
    notify_stopping(NULL);
    notify_free(NULL);
}

static void changes_are_told_in_their_order(void **state)
{
    struct manager *manager = *state;

    listen_at(manager, manager->path);
    assert_int_equal(make(manager), ST_OK);
    assert_string_equal(next(manager), "");
    notify_ready(manager->notify);
    notify_reloading(manager->notify);
    notify_ready(manager->notify);
    notify_stopping(manager->notify);
    assert_string_equal(next(manager), "READY=1");
    assert_memory_equal(next(manager), "RELOADING=1\nMONOTONIC_USEC=", 27);
    assert_string_equal(next(manager), "READY=1");
    assert_string_equal(next(manager), "STOPPING=1");
    assert_string_equal(next(manager), "");
}

static void an_abstract_socket_is_found(void **state)
{
    struct manager *manager = *state;
    char name[64];

    (void)snprintf(name, sizeof(name), "@poold-notify-%d", (int)getpid());
    listen_at(manager, name);
    assert_int_equal(make(manager), ST_OK);
    notify_ready(manager->notify);
    assert_string_equal(next(manager), "READY=1");
}

static void children_inherit_none_of_the_variables(void **state)
{
    struct manager *manager = *state;

    listen_at(manager, manager->path);
    setenv("WATCHDOG_USEC", "1000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(make(manager), ST_OK);
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
}

static void the_loop_feeds_the_watchdog_once_it_is_ready(void **state)
{
    struct manager *manager = *state;
    uint64_t deadline_ns = clock_mono_ns() + LIMIT_NS;
    char pid[16];
    int signs = 0;

    listen_at(manager, manager->path);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("WATCHDOG_USEC", "20000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(make(manager), ST_OK);
    (void)uv_run(&manager->loop, UV_RUN_NOWAIT);
    assert_string_equal(next(manager), "");
    notify_ready(manager->notify);
    assert_string_equal(next(manager), "READY=1");
    while (signs < 3) {
        assert_true(clock_mono_ns() < deadline_ns);
        (void)uv_run(&manager->loop, UV_RUN_ONCE);
        signs += strcmp(next(manager), "WATCHDOG=1") == 0;
    }
}

static void the_watchdog_of_another_process_is_not_fed(void **state)
{
    struct manager *manager = *state;

    listen_at(manager, manager->path);
    setenv("WATCHDOG_USEC", "1000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(make(manager), ST_OK);
    notify_ready(manager->notify);
    (void)uv_run(&manager->loop, UV_RUN_DEFAULT); /* no timer keeps it */
    assert_string_equal(next(manager), "READY=1");
    assert_string_equal(next(manager), "");
}

static void variables_that_make_no_sense_are_refused(void **state)
{
    struct manager *manager = *state;
    static const char *const bad[] = { "", "relative", "@", "/" };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        assert_int_equal(make(manager), ST_INVALID);
        assert_non_null(strstr(manager->err.text, "NOTIFY_SOCKET"));
        assert_null(manager->notify);
    }
    setenv("NOTIFY_SOCKET", manager->path, 1);
    setenv("WATCHDOG_USEC", "soon", 1);
    assert_int_equal(make(manager), ST_INVALID);
    assert_non_null(strstr(manager->err.text, "soon"));
}

static void a_manager_that_has_gone_disturbs_nobody(void **state)
{
    struct manager *manager = *state;

    setenv("NOTIFY_SOCKET", manager->path, 1);
    assert_int_equal(make(manager), ST_OK);
    notify_ready(manager->notify);
    notify_stopping(manager->notify);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(without_a_manager_nothing_is_told),
        CASE(changes_are_told_in_their_order),
        CASE(an_abstract_socket_is_found),
        CASE(children_inherit_none_of_the_variables),
        CASE(the_loop_feeds_the_watchdog_once_it_is_ready),
        CASE(the_watchdog_of_another_process_is_not_fed),
        CASE(variables_that_make_no_sense_are_refused),
        CASE(a_manager_that_has_gone_disturbs_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
