/* SPDX-License-Identifier: MIT */
#include "server/failure.h"

#include "common/buf.h"
#include "common/mem.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#define JOB "01890a5d-ac96-774b-bcce-b302099a8057"

static struct failure_place place(void)
{
    struct failure_place at = { .item = 2, .attempt = 3 };

    assert_true(uuid_parse(JOB, strlen(JOB), &at.job));
    return at;
}

/* Takes the blob. */
static json_t *object_of(struct blob *blob)
{
    json_error_t error;
    json_t *object;

    assert_non_null(blob);
    object = json_loadb(blob->data, blob->len, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("%s: %s", error.text, blob->data);
    blob_unref(blob);
    return object;
}

static json_t *of_task(enum failure_kind kind, struct text exception)
{
    struct failure_place at = place();
    struct frame_failure failure = { .kind = kind, .exception = exception };

    return object_of(failure_of_task(&at, &failure));
}

static json_t *of_exit(enum exit_cause cause, int code)
{
    struct failure_place at = place();
    struct worker_exit exit = { .cause = cause, .code = code };

    return object_of(failure_of_exit(&at, &exit, 1500));
}

static const char *string_of(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void assert_string(json_t *object, const char *name, const char *expected)
{
    const char *value = string_of(object, name);

    assert_non_null(value);
    assert_string_equal(value, expected);
}

static void failure_names_job_item_and_attempt(void **state)
{
    struct failure_place at = place();
    struct worker_exit exit = { .cause = EXIT_SIGNAL, .code = SIGSEGV };
    struct blob *blob;

    (void)state;
    at.item = UINT64_MAX - 1;
    blob = failure_of_exit(&at, &exit, 0);
    /* The item may be larger than what jansson reads. */
    assert_non_null(strstr(blob->data, ",\"job\":\"" JOB
                                       "\",\"item\":18446744073709551614,\"attempt\":3"));
    blob_unref(blob);
}

static void task_error_shows_the_exception_as_python_prints_it(void **state)
{
    json_t *object = of_task(
        FAILURE_TASK, TEXT("{\"type\":\"ValueError\",\"message\":\"Negative input not "
                           "allowed\",\"traceback\":\"line 1\\nline 2\"}"));
    json_t *exception = json_object_get(object, "exception");

    (void)state;
    assert_string(object, "type", "/problems/task-error");
    assert_int_equal(json_integer_value(json_object_get(object, "status")), 422);
    assert_string(object, "detail", "ValueError: Negative input not allowed");
    assert_string(object, "job", JOB);
    assert_int_equal(json_integer_value(json_object_get(object, "item")), 2);
    assert_int_equal(json_integer_value(json_object_get(object, "attempt")), 3);
    assert_string(exception, "type", "ValueError");
    assert_string(exception, "message", "Negative input not allowed");
    assert_string(exception, "traceback", "line 1\nline 2");
    json_decref(object);
}

static void exception_without_a_message_is_its_type(void **state)
{
    struct failure_place at = place();
    struct frame_failure failure = { .kind = FAILURE_TASK,
                                     .exception = TEXT(
                                         "{\"type\":\"KeyError\",\"message\":\"\"}") };
    json_t *object = object_of(failure_of_task(&at, &failure));

    (void)state;
    assert_string(object, "detail", "KeyError");
    json_decref(object);
}

static void every_kind_of_failure_has_its_own_problem(void **state)
{
    static const char *const types[FAILURE_KIND_COUNT] = {
        [FAILURE_TASK] = "/problems/task-error",
        [FAILURE_RESULT_TOO_LARGE] = "/problems/result-too-large",
        [FAILURE_INVALID_RESULT] = "/problems/invalid-result",
        [FAILURE_OUT_OF_MEMORY] = "/problems/out-of-memory",
        [FAILURE_PROTOCOL] = "/problems/protocol-error",
        [FAILURE_TIME_LIMIT] = "/problems/time-limit",
    };

    (void)state;
    for (enum failure_kind kind = 0; kind < FAILURE_KIND_COUNT; kind++) {
        struct failure_place at = place();
        struct frame_failure failure = { .kind = kind,
                                         .exception =
                                             TEXT("{\"type\":\"T\",\"message\":\"m\"}") };
        json_t *object = object_of(failure_of_task(&at, &failure));

        assert_string(object, "type", types[kind]);
        assert_int_equal(json_integer_value(json_object_get(object, "status")), 422);
        json_decref(object);
    }
}

static void unreadable_exception_is_a_protocol_error(void **state)
{
    static const struct text texts[] = {
        { NULL, 0 },
        { "", 0 },
        { "{", 1 },
        { "null", 4 },
        { "[]", 2 },
        { "{}", 2 },
        { "\"x\"", 3 },
        { "{\"type\":1,\"message\":\"\"}", 23 },
        { "{\"type\":\"\",\"message\":null}", 26 },
        { "{\"type\":\"a\"}", 12 },
        { "{\"message\":\"a\"}", 15 },
        { "{\"type\":\"a\",\"message\":\"b\"}}", 27 },
        { "{\"type\":\"a\",\"type\":\"a\",\"message\":\"b\"}", 37 },
        { "{\"type\":\"a\",\"message\":\"\xff\"}", 26 },
        { "{\"type\":\"a\",\"message\":\"\n\"}", 26 },
        { "{\"type\":\"a\",\"message\":\"\\u0000\"}", 31 },
        { "{\"type\":\"a\",\"message\":\"b\"}\0x", 28 },
        { "\0", 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        json_t *object = of_task(FAILURE_TASK, texts[i]);

        assert_string(object, "type", "/problems/protocol-error");
        assert_null(json_object_get(object, "exception"));
        json_decref(object);
    }
}

static void hostile_message_stays_a_string(void **state)
{
    json_t *object = of_task(
        FAILURE_TASK, TEXT("{\"type\":\"E\\\"},{\\\\\",\"message\":\"\\u001b[31m\\r\\n"
                           "</script>\\\"\\ud83d\\ude00 %s%n\"}"));

    (void)state;
    assert_string(object, "detail",
                  "E\"},{\\: \x1b[31m\r\n</script>\"\xf0\x9f\x98\x80 %s%n");
    assert_int_equal(json_object_size(object), 8);
    json_decref(object);
}

static void large_exception_is_passed_on_whole(void **state)
{
    struct buf text = BUF_INIT;
    json_t *object;

    (void)state;
    buf_add_str(&text, "{\"type\":\"E\",\"message\":\"");
    for (unsigned i = 0; i < 100000; i++)
        buf_add_char(&text, 'm');
    buf_add_str(&text, "\",\"deep\":[[[[{\"a\":1}]]]]}");
    object = of_task(FAILURE_TASK, buf_text(&text));
    assert_int_equal(json_string_length(json_object_get(object, "detail")), 100003);
    json_decref(object);
    buf_clear(&text);
}

static void killed_worker_is_lost_by_its_signal(void **state)
{
    json_t *object;

    (void)state;
    object = of_exit(EXIT_SIGNAL, SIGSEGV);
    assert_string(object, "type", "/problems/worker-lost");
    assert_string(object, "signal", "SIGSEGV");
    assert_string(object, "detail", "the worker was killed by SIGSEGV");
    assert_null(json_object_get(object, "exit_code"));
    json_decref(object);
    object = of_exit(EXIT_SIGNAL, SIGKILL);
    assert_string(object, "signal", "SIGKILL");
    assert_string(object, "detail",
                  "the worker was killed by SIGKILL (by hand, or out of memory)");
    json_decref(object);
}

static void a_killed_control_group_is_out_of_memory(void **state)
{
    json_t *object = of_exit(EXIT_MEMORY_LIMIT, SIGKILL);

    (void)state;
    assert_string(object, "type", "/problems/out-of-memory");
    assert_null(json_object_get(object, "signal"));
    json_decref(object);
}

static void signal_without_a_name_is_a_number(void **state)
{
    json_t *object = of_exit(EXIT_SIGNAL, SIGRTMIN + 5);
    char expected[32];

    (void)state;
    (void)snprintf(expected, sizeof(expected), "signal %d", SIGRTMIN + 5);
    assert_string(object, "signal", expected);
    json_decref(object);
}

static void worker_that_left_is_lost_by_its_exit_code(void **state)
{
    (void)state;
    for (int code = 0; code < 256; code += 51) {
        json_t *object = of_exit(EXIT_CODE, code);

        assert_string(object, "type", "/problems/worker-lost");
        assert_int_equal(json_integer_value(json_object_get(object, "exit_code")), code);
        assert_null(json_object_get(object, "signal"));
        json_decref(object);
    }
}

static void time_limit_is_told_in_seconds(void **state)
{
    json_t *object = of_exit(EXIT_TIME_LIMIT, SIGKILL);

    (void)state;
    assert_string(object, "type", "/problems/time-limit");
    assert_string(object, "detail", "the item ran longer than 1.5 seconds");
    assert_null(json_object_get(object, "signal"));
    assert_null(json_object_get(object, "exit_code"));
    json_decref(object);
}

static void nonsense_from_a_worker_is_a_protocol_error(void **state)
{
    json_t *object = of_exit(EXIT_PROTOCOL, SIGKILL);

    (void)state;
    assert_string(object, "type", "/problems/protocol-error");
    assert_null(json_object_get(object, "signal"));
    json_decref(object);
}

static void every_cause_makes_an_object(void **state)
{
    (void)state;
    for (enum exit_cause cause = 0; cause < EXIT_CAUSE_COUNT; cause++) {
        json_t *object = of_exit(cause, 1);

        assert_non_null(string_of(object, "type"));
        assert_non_null(string_of(object, "detail"));
        json_decref(object);
    }
}

static void missing_memory_gives_no_failure(void **state)
{
    struct failure_place at = place();
    struct frame_failure failure = { .kind = FAILURE_TASK,
                                     .exception =
                                         TEXT("{\"type\":\"T\",\"message\":\"m\"}") };
    struct worker_exit exit = { .cause = EXIT_SIGNAL, .code = SIGSEGV };
    struct blob *blobs[2] = { NULL, NULL };

    (void)state;
    for (unsigned long n = 1; !blobs[0] || !blobs[1]; n++) {
        assert_true(n < 50);
        for (size_t i = 0; i < 2; i++) {
            blob_unref(blobs[i]);
            mem_fail_at(n, 0);
            blobs[i] =
                i ? failure_of_task(&at, &failure) : failure_of_exit(&at, &exit, 0);
            mem_fail_at(0, 0);
            assert_true(n > 1 || !blobs[i]);
            if (blobs[i]) /* whole, or not at all */
                json_decref(object_of(blob_ref(blobs[i])));
        }
    }
    blob_unref(blobs[0]);
    blob_unref(blobs[1]);
}

static void broken_pool_names_its_exception(void **state)
{
    const struct uuid job = { { 1 } };
    struct text raised =
        TEXT("{\"type\":\"ValueError\",\"message\":\"no\",\"traceback\":\"\"}");
    struct blob *exception = failure_exception(raised);
    struct blob *problem = failure_of_pool(&job, "p", blob_text(exception));

    (void)state;
    assert_non_null(strstr(problem->data, "\"type\":\"/problems/broken-pool\""));
    assert_non_null(strstr(problem->data, "pool p keeps failing: ValueError: no"));
    assert_non_null(strstr(problem->data, "\"job\":\"01000000-"));
    assert_non_null(strstr(problem->data, raised.at));
    assert_int_equal(failure_http_status(blob_text(problem)), 409);
    blob_unref(problem);
    problem = failure_of_pool(NULL, "p", blob_text(exception));
    assert_null(strstr(problem->data, "\"job\""));
    blob_unref(problem);
    blob_unref(exception);
}

static void broken_input_names_its_line_if_one_is_wrong(void **state)
{
    struct uuid job = { { 1 } };
    struct blob *problem = failure_of_input(&job, "line 4 is wrong", 4);

    (void)state;
    assert_non_null(strstr(problem->data, "\"detail\":\"line 4 is wrong\""));
    assert_non_null(strstr(problem->data, "\"job\":\"01000000-"));
    assert_non_null(strstr(problem->data, ",\"line\":4}"));
    assert_int_equal(failure_http_status(blob_text(problem)), 422);
    assert_true(failure_is_of_input(blob_text(problem)));
    blob_unref(problem);
    problem = failure_of_input(&job, "gone", 0);
    assert_null(strstr(problem->data, "line"));
    assert_true(failure_is_of_input(blob_text(problem)));
    blob_unref(problem);
    assert_false(failure_is_of_input(TEXT("")));
    assert_false(failure_is_of_input(TEXT("{\"type\":\"/problems/task-error\"}")));
}

static void too_many_bytes_of_results_are_the_jobs_failure_and_no_items(void **state)
{
    struct uuid job = { { 1 } };
    struct blob *problem = failure_of_results(&job, 4711);

    (void)state;
    assert_non_null(strstr(problem->data, "\"type\":\"/problems/result-too-large\""));
    assert_non_null(strstr(problem->data, "max_job_result_bytes allows, 4711\""));
    assert_non_null(strstr(problem->data, "\"job\":\"01000000-"));
    assert_null(strstr(problem->data, "\"item\""));
    assert_int_equal(failure_http_status(blob_text(problem)), 422);
    blob_unref(problem);
}

static void exception_that_is_not_readable_is_replaced(void **state)
{
    static const char *const texts[] = { "", "{", "[]", "{\"type\":1,\"message\":\"\"}" };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct blob *exception =
            failure_exception((struct text){ texts[i], strlen(texts[i]) });

        assert_non_null(strstr(exception->data, "\"type\":\"ProtocolError\""));
        blob_unref(exception);
    }
}

static void status_of_a_problem_is_its_own(void **state)
{
    (void)state;
    assert_int_equal(failure_http_status(TEXT("{\"status\":409}")), 409);
    assert_int_equal(failure_http_status(TEXT("{\"status\":200}")), 422);
    assert_int_equal(failure_http_status(TEXT("nonsense")), 422);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failure_names_job_item_and_attempt),
        cmocka_unit_test(task_error_shows_the_exception_as_python_prints_it),
        cmocka_unit_test(exception_without_a_message_is_its_type),
        cmocka_unit_test(every_kind_of_failure_has_its_own_problem),
        cmocka_unit_test(unreadable_exception_is_a_protocol_error),
        cmocka_unit_test(hostile_message_stays_a_string),
        cmocka_unit_test(large_exception_is_passed_on_whole),
        cmocka_unit_test(killed_worker_is_lost_by_its_signal),
        cmocka_unit_test(a_killed_control_group_is_out_of_memory),
        cmocka_unit_test(signal_without_a_name_is_a_number),
        cmocka_unit_test(worker_that_left_is_lost_by_its_exit_code),
        cmocka_unit_test(time_limit_is_told_in_seconds),
        cmocka_unit_test(nonsense_from_a_worker_is_a_protocol_error),
        cmocka_unit_test(every_cause_makes_an_object),
        cmocka_unit_test(missing_memory_gives_no_failure),
        cmocka_unit_test(broken_pool_names_its_exception),
        cmocka_unit_test(broken_input_names_its_line_if_one_is_wrong),
        cmocka_unit_test(too_many_bytes_of_results_are_the_jobs_failure_and_no_items),
        cmocka_unit_test(exception_that_is_not_readable_is_replaced),
        cmocka_unit_test(status_of_a_problem_is_its_own),
    };

    return cmocka_run_group_tests_name("failure", tests, NULL, NULL);
}
