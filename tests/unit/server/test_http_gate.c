/* SPDX-License-Identifier: MIT */
#include "server/http_gate.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MAX_BODY 1000

/* ---- the request target ------------------------------------------------------------ */

#define URI_MAX     700
#define HEADERS_MAX 20
#define HEADER_MAX  300

static const struct gate_limits limits = { URI_MAX, HEADERS_MAX, HEADER_MAX };
static char path[URI_MAX + 1];
static size_t path_len;

static enum problem uri(const char *target)
{
    struct error_text err = { "" };
    enum problem problem;

    memset(path, 'x', sizeof(path));
    problem = gate_uri(&limits, target, path, &path_len, &err);
    assert_int_equal(err.text[0] == '\0', problem == PROBLEM_COUNT);
    return problem;
}

static void assert_path(const char *target, const char *expected)
{
    assert_int_equal(uri(target), PROBLEM_COUNT);
    assert_string_equal(path, expected);
    assert_int_equal(path_len, strlen(expected));
}

static void path_is_decoded_without_its_query(void **state)
{
    (void)state;
    assert_path("/", "/");
    assert_path("/v1/jobs", "/v1/jobs");
    assert_path("/v1/jobs?state=running&x=/../", "/v1/jobs");
    assert_path("/?", "/");
    assert_path("/v1/jobs/", "/v1/jobs/");
    assert_path("/%61%7A%5f%2D", "/az_-");
    assert_path("/a%3Fb%23", "/a?b#");
    assert_path("/...", "/...");
    assert_path("/.a/..b", "/.a/..b");
    assert_path("/~user", "/~user");
}

static void query_is_not_decoded_here(void **state)
{
    (void)state;
    assert_path("/a?%zz%00", "/a");
}

static void target_that_is_no_path_is_refused(void **state)
{
    (void)state;
    assert_int_equal(uri("http://localhost/v1/jobs"), PROBLEM_INVALID_URI);
    assert_int_equal(uri("v1/jobs"), PROBLEM_INVALID_URI);
    assert_int_equal(uri("*"), PROBLEM_INVALID_URI);
    assert_int_equal(uri("?a=b"), PROBLEM_INVALID_URI);
    assert_int_equal(uri(""), PROBLEM_INVALID_URI);
}

static void path_that_points_elsewhere_is_refused(void **state)
{
    static const char *const targets[] = {
        "/a%00",  "/%2e%2e%2fetc", "/%2e",   "/a/%2E%2E", "/a/../b",
        "/a/..",  "/..",           "/a/./b", "/.",        "/./",
        "//",     "//a",           "/a//b",  "/a//",      "/a%2fb",
        "/a%2Fb", "/a%5cb",        "/a%25b", "/../?a",    "/a/..?b",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++)
        if (uri(targets[i]) != PROBLEM_INVALID_URI)
            fail_msg("%s is let through", targets[i]);
}

static void wrong_encoding_is_refused(void **state)
{
    static const char *const targets[] = {
        "/%zz",       "/%",    "/%4",  "/a%4?1", "/%c0%af", "/\x80",
        "/a\xc3\xa9", "/%20",  "/%7f", "/%0a",   "/a b",    "/a\tb",
        "/a\x7f",     "/?a b", "/%+1", "/?\x80", "/% 1",    "/%-1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++)
        if (uri(targets[i]) != PROBLEM_INVALID_URI)
            fail_msg("%s is let through", targets[i]);
}

static void target_may_have_as_many_bytes_as_the_limit_and_no_more(void **state)
{
    char target[URI_MAX + 2];

    (void)state;
    memset(target, 'a', sizeof(target));
    target[0] = '/';
    target[URI_MAX + 1] = '\0';
    assert_int_equal(uri(target), PROBLEM_URI_TOO_LONG);
    target[100] = '?';
    assert_int_equal(uri(target), PROBLEM_URI_TOO_LONG);
    target[100] = 'a';
    target[URI_MAX] = '\0';
    assert_path(target, target);
}

/* ---- the version ------------------------------------------------------------------- */

static void versions_1_0_and_1_1_are_spoken(void **state)
{
    static const char *const others[] = { "HTTP/1.9", "HTTP/2.0",  "HTTP/0.9",
                                          "http/1.1", "HTTP/1.10", "" };
    struct error_text err = { "" };

    (void)state;
    assert_int_equal(gate_version("HTTP/1.1", &err), PROBLEM_COUNT);
    assert_int_equal(gate_version("HTTP/1.0", &err), PROBLEM_COUNT);
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_int_equal(gate_version(others[i], &err), PROBLEM_VERSION_NOT_SUPPORTED);
    assert_true(err.text[0]);
}

/* ---- headers ----------------------------------------------------------------------- */

static enum problem header(struct gate_headers *seen, const char *name, const char *value)
{
    struct error_text err = { "" };
    enum problem problem = gate_header(&limits, seen, name, value, &err);

    assert_int_equal(err.text[0] == '\0', problem == PROBLEM_COUNT);
    return problem;
}

static enum problem only_header(const char *name, const char *value)
{
    struct gate_headers seen = { 0 };

    return header(&seen, name, value);
}

static void header_names_have_to_be_tokens(void **state)
{
    static const char *const names[] = {
        "",
        "Content-Length ",
        "Transfer-Encoding\t",
        "a b",
        "a(b)",
        "a:b",
        "\x80",
        "a\x7f",
        "a,b",
        "\"a\"",
        "a/b",
        "{a}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (only_header(names[i], "1") != PROBLEM_BAD_REQUEST)
            fail_msg("\"%s\" is let through", names[i]);
    assert_int_equal(only_header("X-!#$%&'*+-.^_`|~09azAZ", "1"), PROBLEM_COUNT);
}

static void header_values_have_no_control_bytes(void **state)
{
    static const char *const values[] = { "a\x01", "\x1b[31m", "a\rb", "a\nb", "\x7f" };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
        assert_int_equal(only_header("X-A", values[i]), PROBLEM_BAD_REQUEST);
    assert_int_equal(only_header("X-A", ""), PROBLEM_COUNT);
    assert_int_equal(only_header("X-A", "a\tb \xc3\xa9\xff"), PROBLEM_COUNT);
}

static void headers_that_decide_come_only_once(void **state)
{
    static const char *const names[] = { "Host",          "Content-Length",
                                         "Content-Type",  "Transfer-Encoding",
                                         "Authorization", "Idempotency-Key",
                                         "Expect",        "Origin" };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct gate_headers seen = { 0 };
        char other_case[32] = "";

        for (size_t c = 0; names[i][c]; c++)
            other_case[c] = (char)tolower(names[i][c]);
        assert_int_equal(header(&seen, names[i], "a"), PROBLEM_COUNT);
        assert_int_equal(header(&seen, "X-Between", "a"), PROBLEM_COUNT);
        assert_int_equal(header(&seen, other_case, "a"), PROBLEM_BAD_REQUEST);
    }
}

static void other_headers_may_come_more_often(void **state)
{
    struct gate_headers seen = { 0 };

    (void)state;
    assert_int_equal(header(&seen, "Accept", "a"), PROBLEM_COUNT);
    assert_int_equal(header(&seen, "Accept", "b"), PROBLEM_COUNT);
    assert_int_equal(header(&seen, "Host", "a"), PROBLEM_COUNT);
    assert_int_equal(header(&seen, "Content-Length", "1"), PROBLEM_COUNT);
}

static void number_and_size_of_headers_are_limited(void **state)
{
    static char value[HEADER_MAX + 2];
    struct gate_headers seen = { 0 };

    (void)state;
    for (unsigned i = 0; i < HEADERS_MAX; i++)
        assert_int_equal(header(&seen, "X-A", "1"), PROBLEM_COUNT);
    assert_int_equal(header(&seen, "X-A", "1"), PROBLEM_HEADERS_TOO_LARGE);
    memset(value, 'v', HEADER_MAX + 1);
    assert_int_equal(only_header("X-A", value), PROBLEM_HEADERS_TOO_LARGE);
    value[HEADER_MAX] = '\0';
    assert_int_equal(only_header("X-A", value), PROBLEM_COUNT);
}

/* ---- the body ---------------------------------------------------------------------- */

struct headers {
    const char *transfer_encoding, *content_length, *expect, *content_encoding, *version;
};

static int64_t length;

static enum problem body(struct headers h)
{
    const struct gate_headers headers = {
        .single = { [GATE_TRANSFER_ENCODING] = h.transfer_encoding,
                    [GATE_CONTENT_LENGTH] = h.content_length,
                    [GATE_EXPECT] = h.expect,
                    [GATE_CONTENT_ENCODING] = h.content_encoding },
    };
    struct error_text err = { "" };
    enum problem problem;

    length = -77;
    problem =
        gate_body(&headers, h.version ? h.version : "HTTP/1.1", MAX_BODY, &length, &err);
    assert_int_equal(err.text[0] == '\0', problem == PROBLEM_COUNT);
    return problem;
}

#define BODY(...) body((struct headers){ __VA_ARGS__ })

static void announced_length_is_read(void **state)
{
    (void)state;
    assert_int_equal(BODY(.content_length = "0"), PROBLEM_COUNT);
    assert_int_equal(length, 0);
    assert_int_equal(BODY(.content_length = "007"), PROBLEM_COUNT);
    assert_int_equal(length, 7);
    assert_int_equal(BODY(.content_length = "1000"), PROBLEM_COUNT);
    assert_int_equal(length, MAX_BODY);
}

static void length_without_announcement_is_not_known(void **state)
{
    (void)state;
    assert_int_equal(BODY(0), PROBLEM_COUNT);
    assert_int_equal(length, -1);
    assert_int_equal(BODY(.transfer_encoding = "chunked"), PROBLEM_COUNT);
    assert_int_equal(length, -1);
    assert_int_equal(BODY(.transfer_encoding = "Chunked"), PROBLEM_COUNT);
}

static void length_over_the_limit_is_refused_before_the_body(void **state)
{
    static const char *const lengths[] = { "1001", "18446744073709551615",
                                           "18446744073709551616",
                                           "99999999999999999999999" };

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        assert_int_equal(BODY(.content_length = lengths[i]), PROBLEM_BODY_TOO_LARGE);
        assert_int_equal(BODY(.content_length = lengths[i], .expect = "100-continue"),
                         PROBLEM_BODY_TOO_LARGE);
    }
}

static void length_that_is_no_number_is_refused(void **state)
{
    static const char *const lengths[] = { "",   "-1",  "+2",  "0x2", "2, 2", "2 ",
                                           " 2", "1e2", "two", "2;",  "2\t" };

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
        if (BODY(.content_length = lengths[i]) != PROBLEM_BAD_REQUEST)
            fail_msg("\"%s\" is let through", lengths[i]);
}

static void two_ways_to_tell_the_length_are_refused(void **state)
{
    (void)state;
    assert_int_equal(BODY(.transfer_encoding = "chunked", .content_length = "2"),
                     PROBLEM_BAD_REQUEST);
}

static void other_transfer_encodings_are_refused(void **state)
{
    static const char *const codings[] = { "xchunked", "identity",   "gzip, chunked",
                                           "chunked ", "",           "chunked, chunked",
                                           " chunked", "chunked;q=1" };

    (void)state;
    for (size_t i = 0; i < sizeof(codings) / sizeof(*codings); i++)
        if (BODY(.transfer_encoding = codings[i]) != PROBLEM_BAD_REQUEST)
            fail_msg("\"%s\" is let through", codings[i]);
}

static void http_1_0_has_no_transfer_encoding(void **state)
{
    (void)state;
    assert_int_equal(BODY(.transfer_encoding = "chunked", .version = "HTTP/1.0"),
                     PROBLEM_BAD_REQUEST);
    assert_int_equal(BODY(.content_length = "2", .version = "HTTP/1.0"), PROBLEM_COUNT);
}

static void only_one_expectation_works(void **state)
{
    (void)state;
    assert_int_equal(BODY(.expect = "100-continue"), PROBLEM_COUNT);
    assert_int_equal(BODY(.expect = "100-Continue"), PROBLEM_COUNT);
    assert_int_equal(BODY(.expect = "foo"), PROBLEM_EXPECTATION_FAILED);
    assert_int_equal(BODY(.expect = ""), PROBLEM_EXPECTATION_FAILED);
    assert_int_equal(BODY(.expect = "100-continue, foo"), PROBLEM_EXPECTATION_FAILED);
}

static void compressed_body_is_refused(void **state)
{
    (void)state;
    assert_int_equal(BODY(.content_encoding = "identity"), PROBLEM_COUNT);
    assert_int_equal(BODY(.content_encoding = "gzip"), PROBLEM_UNSUPPORTED_MEDIA_TYPE);
    assert_int_equal(BODY(.content_encoding = "identity, gzip"),
                     PROBLEM_UNSUPPORTED_MEDIA_TYPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_is_decoded_without_its_query),
        cmocka_unit_test(query_is_not_decoded_here),
        cmocka_unit_test(target_that_is_no_path_is_refused),
        cmocka_unit_test(path_that_points_elsewhere_is_refused),
        cmocka_unit_test(wrong_encoding_is_refused),
        cmocka_unit_test(target_may_have_as_many_bytes_as_the_limit_and_no_more),
        cmocka_unit_test(versions_1_0_and_1_1_are_spoken),
        cmocka_unit_test(header_names_have_to_be_tokens),
        cmocka_unit_test(header_values_have_no_control_bytes),
        cmocka_unit_test(headers_that_decide_come_only_once),
        cmocka_unit_test(other_headers_may_come_more_often),
        cmocka_unit_test(number_and_size_of_headers_are_limited),
        cmocka_unit_test(announced_length_is_read),
        cmocka_unit_test(length_without_announcement_is_not_known),
        cmocka_unit_test(length_over_the_limit_is_refused_before_the_body),
        cmocka_unit_test(length_that_is_no_number_is_refused),
        cmocka_unit_test(two_ways_to_tell_the_length_are_refused),
        cmocka_unit_test(other_transfer_encodings_are_refused),
        cmocka_unit_test(http_1_0_has_no_transfer_encoding),
        cmocka_unit_test(only_one_expectation_works),
        cmocka_unit_test(compressed_body_is_refused),
    };

    return cmocka_run_group_tests_name("http_gate", tests, NULL, NULL);
}
