/* SPDX-License-Identifier: MIT */
#include "server/notify.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/mem.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NS_PER_US 1000

struct notify {
    uv_timer_t watchdog;
    uint64_t watchdog_ms; /* between two signs of life; 0: nobody wants them */
    int socket;
    struct sockaddr_un address;
    socklen_t address_len;
};

/* A path, or "@name" in the abstract namespace. */
static bool read_address(struct notify *notify, const char *name)
{
    size_t len = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || len < 2 ||
        len >= sizeof(notify->address.sun_path))
        return false;
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, name, len);
    if (name[0] == '@')
        notify->address.sun_path[0] = '\0';
    notify->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    return true;
}

/* A whole number, all of the text; 0 if it is none. */
static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);

    return text[0] >= '0' && text[0] <= '9' && !*end ? number : 0;
}

/* The watchdog may be meant for another process of the service. */
static bool read_watchdog(struct notify *notify, const char *usec, const char *pid)
{
    uint64_t period_us = usec ? number_of(usec) : 0;

    if (usec && !period_us)
        return false;
    if (pid && number_of(pid) != (uint64_t)getpid())
        return true;
    if (usec)
        notify->watchdog_ms = period_us / 2 / 1000 ? period_us / 2 / 1000 : 1;
    return true;
}

/* What does not get through at once is lost: the socket is systemd's, and it reads. */
static void tell(const struct notify *notify, const char *text)
{
    (void)sendto(notify->socket, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                 (const struct sockaddr *)&notify->address, notify->address_len);
}

enum status notify_new(uv_loop_t *loop, struct notify **ret_notify,
                       struct error_text *err)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct notify *notify;
    enum status st = ST_OK;

    *ret_notify = NULL;
    if (!name)
        return ST_OK;
    notify = mem_zalloc(sizeof(*notify));
    if (!notify)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    notify->socket = -1;
    if (!read_address(notify, name))
        st = error_set(err, ST_INVALID, "NOTIFY_SOCKET: \"%s\" is not a path or @name",
                       name);
    else if (!read_watchdog(notify, getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID")))
        st = error_set(err, ST_INVALID, "WATCHDOG_USEC: \"%s\" is not a whole number",
                       getenv("WATCHDOG_USEC"));
    else if ((notify->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
        st = error_set(err, ST_IO, "NOTIFY_SOCKET: %s", strerror(errno));
    if (st != ST_OK) {
        mem_free(notify);
        return st;
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    (void)uv_timer_init(loop, &notify->watchdog);
    notify->watchdog.data = notify;
    *ret_notify = notify;
    return ST_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct notify *notify = handle->data;

    fd_close(&notify->socket);
    mem_free(notify);
}

void notify_free(struct notify *notify)
{
    if (notify)
        uv_close((uv_handle_t *)&notify->watchdog, on_closed);
}

static void on_watchdog(uv_timer_t *timer)
{
    tell(timer->data, "WATCHDOG=1");
}

void notify_ready(struct notify *notify)
{
    if (!notify)
        return;
    tell(notify, "READY=1");
    if (notify->watchdog_ms && !uv_is_active((uv_handle_t *)&notify->watchdog))
        (void)uv_timer_start(&notify->watchdog, on_watchdog, 0, notify->watchdog_ms);
}

/* The time lets systemd tell this reload from another one. */
void notify_reloading(struct notify *notify)
{
    char text[80];

    if (!notify)
        return;
    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
                   (unsigned long long)(clock_mono_ns() / NS_PER_US));
    tell(notify, text);
}

void notify_stopping(struct notify *notify)
{
    if (notify)
        tell(notify, "STOPPING=1");
}
