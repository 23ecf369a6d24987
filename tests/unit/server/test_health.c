/* SPDX-License-Identifier: MIT */
#include "server/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_url(const char *url, const char *listen, const char *expected)
{
    struct buf got = BUF_INIT;
    struct error_text err = { "" };

    assert_int_equal(health_url(url, listen, false, &got, &err), ST_OK);
    assert_string_equal(got.data, expected);
    buf_clear(&got);
}

static void assert_no_url(const char *url, const char *listen, const char *expected)
{
    struct buf got = BUF_INIT;
    struct error_text err = { "" };

    assert_int_equal(health_url(url, listen, false, &got, &err), ST_INVALID);
    assert_string_equal(err.text, expected);
    buf_clear(&got);
}

static void health_url_adds_what_is_missing(void **state)
{
    (void)state;
    assert_url("http://h:1", NULL, "http://h:1/readyz");
    assert_url("http://h:1/", NULL, "http://h:1/readyz");
    assert_url("h:1", NULL, "http://h:1/readyz");
    assert_url("https://h/healthz", NULL, "https://h/healthz");
    assert_url("http://h:1", "127.0.0.1:2", "http://h:1/readyz");
}

static void health_url_follows_the_listen_setting(void **state)
{
    (void)state;
    assert_url(NULL, NULL, "http://127.0.0.1:8080/readyz");
    assert_url(NULL, "127.0.0.1:81", "http://127.0.0.1:81/readyz");
    assert_url(NULL, "0.0.0.0:81", "http://127.0.0.1:81/readyz");
    assert_url(NULL, "[::]:81", "http://[::1]:81/readyz");
    assert_url(NULL, "[::2]:81", "http://[::2]:81/readyz");
}

static void health_url_refuses_what_is_no_web_address(void **state)
{
    (void)state;
    assert_no_url("", NULL, "\"\" is not a URL");
    assert_no_url("--help", NULL, "\"--help\" is not a URL");
    assert_no_url("/readyz", NULL, "\"/readyz\" is not a URL");
    assert_no_url("file:///etc/passwd", NULL,
                  "\"file:///etc/passwd\" is neither http:// nor https://");
    assert_no_url(NULL, "8080",
                  "POOLD_LISTEN: \"8080\" is not HOST:PORT with a port in 0..65535");
}

static void health_main_fails_when_nobody_listens(void **state)
{
    char *argument[] = { "http://127.0.0.1:1" };

    (void)state;
    assert_int_equal(health_main(1, argument), 1);
}

static void health_main_fails_for_too_many_arguments(void **state)
{
    char *arguments[] = { "http://127.0.0.1:1", "x" };

    (void)state;
    assert_int_equal(health_main(2, arguments), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_url_adds_what_is_missing),
        cmocka_unit_test(health_url_follows_the_listen_setting),
        cmocka_unit_test(health_url_refuses_what_is_no_web_address),
        cmocka_unit_test(health_main_fails_when_nobody_listens),
        cmocka_unit_test(health_main_fails_for_too_many_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
