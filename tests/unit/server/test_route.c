/* SPDX-License-Identifier: MIT */
#include "server/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct route routes[] = {
    { HTTP_GET, "/", NULL, 0 },
    { HTTP_POST, "/v1/map", NULL, 0 },
    { HTTP_GET, "/v1/jobs", NULL, 0 },
    { HTTP_POST, "/v1/jobs/wait", NULL, 0 },
    { HTTP_GET, "/v1/jobs/{id}", NULL, 0 },
    { HTTP_DELETE, "/v1/jobs/{id}", NULL, 0 },
    { HTTP_GET, "/v1/jobs/{id}/result", NULL, 0 },
    { HTTP_POST, "/v1/jobs/{id}", NULL, 0 },
};

static struct route_match find(enum http_method method, const char *path)
{
    struct route_match match;

    memset(&match, 'x', sizeof(match));
    route_find(routes, sizeof(routes) / sizeof(*routes), method,
               (struct text){ path, strlen(path) }, &match);
    return match;
}

static void assert_found(enum http_method method, const char *path, const char *pattern,
                         const char *param)
{
    struct route_match match = find(method, path);

    assert_non_null(match.route);
    assert_true(match.known_path);
    assert_string_equal(match.route->pattern, pattern);
    assert_int_equal(match.route->method, method);
    assert_true(text_equals(match.param, param));
}

static void literal_path_is_found_by_its_method(void **state)
{
    (void)state;
    assert_found(HTTP_GET, "/", "/", "");
    assert_found(HTTP_POST, "/v1/map", "/v1/map", "");
    assert_found(HTTP_GET, "/v1/jobs", "/v1/jobs", "");
}

static void parameter_is_one_whole_segment(void **state)
{
    (void)state;
    assert_found(HTTP_GET, "/v1/jobs/abc", "/v1/jobs/{id}", "abc");
    assert_found(HTTP_DELETE, "/v1/jobs/a.b-c_d", "/v1/jobs/{id}", "a.b-c_d");
    assert_found(HTTP_GET, "/v1/jobs/abc/result", "/v1/jobs/{id}/result", "abc");
    assert_found(HTTP_GET, "/v1/jobs/{id}", "/v1/jobs/{id}", "{id}");
}

static void literal_path_comes_before_a_parameter(void **state)
{
    (void)state;
    assert_found(HTTP_POST, "/v1/jobs/wait", "/v1/jobs/wait", "");
    assert_found(HTTP_POST, "/v1/jobs/waits", "/v1/jobs/{id}", "waits");
    assert_found(HTTP_GET, "/v1/jobs/wait", "/v1/jobs/{id}", "wait");
}

static void anything_but_the_whole_path_is_unknown(void **state)
{
    static const char *const paths[] = {
        "",
        "/v1",
        "/v1/",
        "/v1/job",
        "/v1/jobs/",
        "/v1/jobs//",
        "/v1/jobs/a/",
        "/v1/jobs//result",
        "/v1/jobs/a/results",
        "/v1/jobs/a/result/",
        "/v1/jobs/a/b/result",
        "/V1/jobs",
        "v1/jobs",
        "//v1/jobs",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        struct route_match match = find(HTTP_GET, paths[i]);

        assert_null(match.route);
        assert_false(match.known_path);
    }
}

static void path_need_not_end_with_a_nul(void **state)
{
    struct route_match match;

    (void)state;
    route_find(routes, sizeof(routes) / sizeof(*routes), HTTP_GET,
               (struct text){ "/v1/jobs/abcdef", 12 }, &match);
    assert_non_null(match.route);
    assert_true(text_equals(match.param, "abc"));
}

static void allow_lists_the_methods_of_the_path(void **state)
{
    (void)state;
    assert_string_equal(find(HTTP_GET, "/v1/map").allow, "POST, OPTIONS");
    assert_string_equal(find(HTTP_DELETE, "/v1/jobs").allow, "GET, HEAD, OPTIONS");
    assert_string_equal(find(HTTP_OPTIONS, "/v1/jobs/a").allow,
                        "GET, HEAD, POST, DELETE, OPTIONS");
    assert_string_equal(find(HTTP_DELETE, "/v1/jobs/a/result").allow,
                        "GET, HEAD, OPTIONS");
}

static void wrong_method_of_a_known_path_is_told_apart(void **state)
{
    struct route_match match = find(HTTP_DELETE, "/v1/map");

    (void)state;
    assert_null(match.route);
    assert_true(match.known_path);
    assert_int_equal(match.param.len, 0);
}

static void all_methods_fit_into_allow(void **state)
{
    static const struct route all[] = {
        { HTTP_GET, "/", NULL, 0 },
        { HTTP_POST, "/", NULL, 0 },
        { HTTP_DELETE, "/", NULL, 0 },
        { HTTP_OPTIONS, "/", NULL, 0 },
    };
    struct route_match match;

    (void)state;
    route_find(all, 3, HTTP_OPTIONS, TEXT("/"), &match);
    assert_string_equal(match.allow, "GET, HEAD, POST, DELETE, OPTIONS");
    assert_true(strlen(match.allow) < ROUTE_ALLOW_MAX);
}

static void no_routes_at_all_is_fine(void **state)
{
    struct route_match match;

    (void)state;
    route_find(routes, 0, HTTP_GET, TEXT("/"), &match);
    assert_null(match.route);
    assert_false(match.known_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literal_path_is_found_by_its_method),
        cmocka_unit_test(parameter_is_one_whole_segment),
        cmocka_unit_test(literal_path_comes_before_a_parameter),
        cmocka_unit_test(anything_but_the_whole_path_is_unknown),
        cmocka_unit_test(path_need_not_end_with_a_nul),
        cmocka_unit_test(allow_lists_the_methods_of_the_path),
        cmocka_unit_test(wrong_method_of_a_known_path_is_told_apart),
        cmocka_unit_test(all_methods_fit_into_allow),
        cmocka_unit_test(no_routes_at_all_is_fine),
    };

    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
