/* SPDX-License-Identifier: MIT */
#include "server/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void address_parse_splits_host_and_port(void **state)
{
    static const struct {
        const char *text, *host;
        int port;
    } cases[] = {
        { "127.0.0.1:0", "127.0.0.1", 0 },
        { "127.9.8.7:65535", "127.9.8.7", 65535 },
        { "0.0.0.0:08", "0.0.0.0", 8 },
        { "[::1]:8080", "::1", 8080 },
        { "[2001:db8::7]:1", "2001:db8::7", 1 },
        { "localhost:81", "127.0.0.1", 81 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address got;

        assert_null(address_parse(cases[i].text, &got));
        assert_string_equal(got.host, cases[i].host);
        assert_int_equal(got.port, cases[i].port);
    }
}

static void address_parse_says_what_is_wrong(void **state)
{
    static const struct {
        const char *text, *reason;
    } cases[] = {
        { "", "is not HOST:PORT" },
        { "8080", "is not HOST:PORT" },
        { "127.0.0.1", "is not HOST:PORT" },
        { "127.0.0.1:", "is not HOST:PORT" },
        { "127.0.0.1:65536", "is not HOST:PORT" },
        { "127.0.0.1:100000", "is not HOST:PORT" },
        { "127.0.0.1:80x", "is not HOST:PORT" },
        { "127.0.0.1:-1", "is not HOST:PORT" },
        { "::1:8080", "without brackets" },
        { ":8080", "has no host" },
        { "[]:80", "has no host" },
        { "[127.0.0.1]:80", "neither a numeric address nor localhost" },
        { "[localhost]:80", "neither a numeric address nor localhost" },
        { "example.org:80", "neither a numeric address nor localhost" },
        { "127.0.0.256:80", "neither a numeric address nor localhost" },
        { "*:80", "neither a numeric address nor localhost" },
        { "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:80", "without brackets" },
        { "1111111111222222222233333333334444444444555555555566666666667777777777:80",
          "neither a numeric address nor localhost" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address got = { .port = 4711 };
        const char *reason = address_parse(cases[i].text, &got);

        assert_non_null(reason);
        assert_non_null(strstr(reason, cases[i].reason));
        assert_int_equal(got.port, 4711);
    }
}

static void address_knows_loopback_and_wildcard(void **state)
{
    (void)state;
    assert_true(address_is_loopback("127.255.255.255"));
    assert_true(address_is_loopback("::1"));
    assert_false(address_is_loopback("128.0.0.1"));
    assert_false(address_is_loopback("0.0.0.0"));
    assert_false(address_is_loopback("::"));
    assert_true(address_is_wildcard("0.0.0.0"));
    assert_true(address_is_wildcard("::"));
    assert_false(address_is_wildcard("0.0.0.1"));
    assert_false(address_is_wildcard("::1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_parse_splits_host_and_port),
        cmocka_unit_test(address_parse_says_what_is_wrong),
        cmocka_unit_test(address_knows_loopback_and_wildcard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
