/* SPDX-License-Identifier: MIT */
#include "server/problem.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* The problem as clients read it; to be given back. */
static json_t *problem_with(enum problem problem, struct text detail)
{
    struct buf out = BUF_INIT;
    json_error_t error;
    json_t *object;

    problem_open(&out, problem, detail);
    buf_add_char(&out, '}');
    assert_false(out.failed);
    object = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("%s: %s", error.text, out.data);
    buf_clear(&out);
    return object;
}

static const char *string_of(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void every_problem_is_complete(void **state)
{
    (void)state;
    for (enum problem i = 0; i < PROBLEM_COUNT; i++) {
        const struct problem_info *info = &problem_infos[i];

        assert_non_null(info->slug);
        assert_int_equal(info->slug[strspn(info->slug, "abcdefghijklmnopqrstuvwxyz-")],
                         '\0');
        assert_in_range(info->status, 400, 599);
        assert_true(strlen(info->title) > 5);
        assert_true(strlen(info->explanation) > 20);
        assert_true(strcmp(info->explanation + strlen(info->explanation) - 1, ".") == 0);
    }
}

static void slugs_are_unique_and_found_again(void **state)
{
    (void)state;
    for (enum problem i = 0; i < PROBLEM_COUNT; i++) {
        const char *slug = problem_infos[i].slug;

        assert_int_equal(problem_find((struct text){ slug, strlen(slug) }), i);
    }
    assert_int_equal(problem_find(TEXT("not-foun")), PROBLEM_COUNT);
    assert_int_equal(problem_find(TEXT("not-found ")), PROBLEM_COUNT);
    assert_int_equal(problem_find(TEXT("")), PROBLEM_COUNT);
}

static enum problem found(const char *slug)
{
    enum problem problem = problem_find((struct text){ slug, strlen(slug) });

    assert_int_not_equal(problem, PROBLEM_COUNT);
    return problem;
}

static unsigned count_of_requests(void)
{
    unsigned count = 0;

    for (enum problem i = 0; i < PROBLEM_COUNT; i++)
        count += problem_is_of_request(i);
    return count;
}

static void failures_of_jobs_are_all_422_and_of_no_request(void **state)
{
    static const char *const slugs[] = { "input-incomplete", "task-error",
                                         "worker-lost",      "time-limit",
                                         "out-of-memory",    "result-too-large",
                                         "invalid-result",   "protocol-error" };

    (void)state;
    for (size_t i = 0; i < sizeof(slugs) / sizeof(*slugs); i++) {
        assert_int_equal(problem_infos[found(slugs[i])].status, 422);
        assert_false(problem_is_of_request(found(slugs[i])));
    }
    assert_int_equal(PROBLEM_COUNT - count_of_requests(), sizeof(slugs) / sizeof(*slugs));
}

static void status_says_whose_fault_it_is(void **state)
{
    static const struct {
        const char *slug;
        int status;
    } contract[] = {
        { "invalid-json", 400 },
        { "json-too-deep", 400 },
        { "invalid-parameter", 400 },
        { "invalid-uri", 400 },
        { "bad-request", 400 },
        { "unauthorized", 401 },
        { "too-many-connections", 503 },
        { "too-many-bodies", 503 },
        { "forbidden", 403 },
        { "forbidden-origin", 403 },
        { "unknown-host", 421 },
        { "rate-limited", 429 },
        { "too-many-requests", 429 },
        { "quota-exceeded", 429 },
        { "key-exists", 409 },
        { "too-many-keys", 409 },
        { "not-found", 404 },
        { "method-not-allowed", 405 },
        { "job-running", 409 },
        { "already-finished", 409 },
        { "not-finished", 409 },
        { "not-failed", 409 },
        { "job-cancelled", 409 },
        { "job-expired", 409 },
        { "unique-conflict", 409 },
        { "pool-exists", 409 },
        { "pool-closed", 409 },
        { "pool-running", 409 },
        { "pool-default", 409 },
        { "broken-pool", 409 },
        { "too-many-processes", 409 },
        { "result-gone", 410 },
        { "body-too-large", 413 },
        { "too-many-items", 413 },
        { "item-too-large", 413 },
        { "uri-too-long", 414 },
        { "unsupported-media-type", 415 },
        { "expectation-failed", 417 },
        { "validation-failed", 422 },
        { "unknown-task", 422 },
        { "unknown-pool", 422 },
        { "idempotency-mismatch", 422 },
        { "no-backups", 409 },
        { "backup-exists", 409 },
        { "backup-running", 409 },
        { "backup-failed", 500 },
        { "headers-too-large", 431 },
        { "no-memory", 503 },
        { "internal-error", 500 },
        { "result-corrupt", 500 },
        { "not-implemented", 501 },
        { "queue-full", 503 },
        { "too-many-waiters", 503 },
        { "shutting-down", 503 },
        { "storage-full", 503 },
        { "storage-unreadable", 503 },
        { "storage-error", 503 },
        { "not-ready", 503 },
        { "version-not-supported", 505 },
    };

    (void)state;
    assert_int_equal(sizeof(contract) / sizeof(*contract), count_of_requests());
    for (size_t i = 0; i < sizeof(contract) / sizeof(*contract); i++) {
        assert_int_equal(problem_infos[found(contract[i].slug)].status,
                         contract[i].status);
        assert_true(problem_is_of_request(found(contract[i].slug)));
    }
}

static void every_problem_is_an_object_as_the_rfc_wants_it(void **state)
{
    (void)state;
    for (enum problem i = 0; i < PROBLEM_COUNT; i++) {
        json_t *object = problem_with(i, TEXT("because"));
        char type[64];

        (void)snprintf(type, sizeof(type), "/problems/%s", problem_infos[i].slug);
        assert_string_equal(string_of(object, "type"), type);
        assert_string_equal(string_of(object, "title"), problem_infos[i].title);
        assert_int_equal(json_integer_value(json_object_get(object, "status")),
                         problem_infos[i].status);
        assert_string_equal(string_of(object, "detail"), "because");
        assert_int_equal(json_object_size(object), 4);
        json_decref(object);
    }
}

static void empty_detail_is_left_out(void **state)
{
    json_t *object = problem_with(PROBLEM_NOT_FOUND, (struct text){ NULL, 0 });

    (void)state;
    assert_null(json_object_get(object, "detail"));
    json_decref(object);
}

static void detail_may_hold_any_text(void **state)
{
    json_t *object = problem_with(
        PROBLEM_NOT_FOUND, TEXT("\"\\\r\n\x1b</script> \xc3\xa9 \xf0\x9f\x98\x80"));

    (void)state;
    assert_string_equal(string_of(object, "detail"),
                        "\"\\\r\n\x1b</script> \xc3\xa9 \xf0\x9f\x98\x80");
    json_decref(object);
}

/* Details quote headers and parameters, which are bytes. */
static void detail_that_is_no_utf_8_is_mended(void **state)
{
#define FFFD "\xef\xbf\xbd"
    static const struct {
        const char *detail, *expected;
    } cases[] = {
        { "a\xff"
          "b",
          "a" FFFD "b" },
        { "\x80", FFFD },
        { "cut \xc3", "cut " FFFD },
        { "cut \xf0\x9f\x98", "cut " FFFD FFFD FFFD },
        { "\xc3(", FFFD "(" },
        { "\xc0\xaf", FFFD FFFD },
        { "\xe0\x80\xaf", FFFD FFFD FFFD },
        { "\xf0\x80\x80\xaf", FFFD FFFD FFFD FFFD },
        { "\xed\xa0\x80", FFFD FFFD FFFD },
        { "\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD },
        { "\xf5\x80", FFFD FFFD },
        { "\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf4\x8f\xbf\xbf\xc2\x80",
          "\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf4\x8f\xbf\xbf\xc2\x80" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        json_t *object = problem_with(
            PROBLEM_NOT_FOUND, (struct text){ cases[i].detail, strlen(cases[i].detail) });

        assert_string_equal(string_of(object, "detail"), cases[i].expected);
        json_decref(object);
    }
}

static void missing_memory_is_seen_at_the_end(void **state)
{
    unsigned long n;
    bool failed = true;

    (void)state;
    for (n = 1; failed; n++) {
        struct buf out = BUF_INIT;

        assert_true(n < 50);
        mem_fail_at(n, 0);
        problem_open(&out, PROBLEM_NOT_FOUND, TEXT("there is no such thing"));
        mem_fail_at(0, 0);
        failed = out.failed;
        buf_clear(&out);
    }
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_problem_is_complete),
        cmocka_unit_test(slugs_are_unique_and_found_again),
        cmocka_unit_test(failures_of_jobs_are_all_422_and_of_no_request),
        cmocka_unit_test(status_says_whose_fault_it_is),
        cmocka_unit_test(every_problem_is_an_object_as_the_rfc_wants_it),
        cmocka_unit_test(empty_detail_is_left_out),
        cmocka_unit_test(detail_may_hold_any_text),
        cmocka_unit_test(detail_that_is_no_utf_8_is_mended),
        cmocka_unit_test(missing_memory_is_seen_at_the_end),
    };

    return cmocka_run_group_tests_name("problem", tests, NULL, NULL);
}
