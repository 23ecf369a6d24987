/* SPDX-License-Identifier: MIT */
/*
 * Lack of memory while requests are read and answers are written: each allocation, of
 * poold and of jansson, fails, once and from then on. A request that is fine is read
 * completely or answered with ST_NO_MEMORY, never told to be wrong; nothing leaks (with
 * the preset asan).
 */
#include "tests/unit/server/test_job_json_fixture.h"

#include "server/job_batch.h"
#include "server/json_load.h"
#include "server/pool_json.h"
#include "server/wait_json.h"

#define MEMBERS                                                                          \
    "\"task\":\"square\",\"pool\":\"other\",\"priority\":3,\"delay\":5,"                 \
    "\"expires_in\":60,\"time_limit\":2,\"result_ttl\":9,\"retries\":2,"                 \
    "\"crash_retries\":1,\"retry_backoff\":{\"initial\":1,\"max\":9,\"factor\":2},"      \
    "\"tags\":[\"a\",\"b\"],\"metadata\":{\"k\":[1]},\"unique_key\":\"u\","              \
    "\"callback\":\"https://hooks.example/x\""

/* More names than there is room for without memory. */
#define MANY_NAMES                                                                       \
    "\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"g\":0,\"h\":0,\"i\":0,"           \
    "\"j\":0,\"k\":0,\"l\":0,\"m\":0,\"n\":0,\"o\":0,\"p\":0,\"q\":0,\"r\":0,"           \
    "\"s\":0,\"t\":0,\"u\":0,\"v\":0,\"w\":0,\"x\":0,\"y\":0,\"z\":0,\"A\":0,"           \
    "\"B\":0,\"C\":0,\"D\":0,\"E\":0,\"F\":0,\"G\":0,\"H\":0,\"I\":0,\"J\":0,"           \
    "\"K\":0,\"L\":0,\"M\":0,\"N\":0,\"O\":0,\"P\":0,\"Q\":0,\"R\":0,\"S\":0,"           \
    "\"T\":0,\"U\":0,\"V\":0,\"W\":0,\"X\":0,\"Y\":0,\"Z\":0"

/* Gives the status, and writes what was read to out. */
struct request {
    const char *name;
    enum status (*read)(const struct request *request, struct buf *out,
                        struct refusal *refusal);
    struct job_intake intake;
    const char *body;
    bool wrong; /* it is to be refused */
};

static const struct job_rules rules = { .max_items = MAX_ITEMS,
                                        .max_item_bytes = MAX_BYTES,
                                        .max_depth = SLICE_DEPTH_MAX,
                                        .callback_allow = "hooks.example",
                                        .find_pool = find_pool };

static struct uuid new_id(void *data, int64_t now_ms)
{
    (void)data;
    (void)now_ms;
    return (struct uuid){ { 1 } };
}

static void write_job(struct buf *out, const struct job_spec *spec)
{
    const struct job_status status = { .state = JOB_QUEUED };

    job_json_write(out, spec, &status);
    buf_add_text(out, spec->input);
    buf_add_text(out, spec->kwargs);
}

static enum status read_job(const struct request *request, struct buf *out,
                            struct refusal *refusal)
{
    struct blob *body = blob_new(request->body, strlen(request->body));
    struct job_intake intake = request->intake;
    struct job_spec *spec = NULL;
    enum status st = ST_NO_MEMORY;

    intake.now_ms = NOW_MS;
    intake.idempotency_key = "key";
    if (body)
        st = job_json_parse(body, &intake, &rules, &spec, refusal);
    if (st == ST_OK)
        write_job(out, spec);
    job_spec_unref(spec);
    blob_unref(body);
    return st;
}

static enum status read_batch(const struct request *request, struct buf *out,
                              struct refusal *refusal)
{
    static struct job_spec *specs[10];
    const struct batch_intake intake = { .max_jobs = 10,
                                         .now_ms = NOW_MS,
                                         .new_id = new_id };
    struct blob *body = blob_new(request->body, strlen(request->body));
    enum status st = ST_NO_MEMORY;
    size_t count = 0;

    if (body)
        st = job_batch_parse(body, &intake, &rules, specs, &count, refusal);
    for (size_t i = 0; st == ST_OK && i < count; i++) {
        write_job(out, specs[i]);
        job_spec_unref(specs[i]);
    }
    blob_unref(body);
    return st;
}

static enum status read_wait(const struct request *request, struct buf *out,
                             struct refusal *refusal)
{
    static struct wait_request wait;
    const struct text text = { request->body, strlen(request->body) };
    enum status st = wait_json_parse(text, true, false, SLICE_DEPTH_MAX, &wait, refusal);

    if (st == ST_OK)
        buf_addf(out, "%zu %d %" PRId64, wait.count, (int)wait.return_when,
                 wait.timeout_ms);
    return st;
}

static enum status read_pool(const struct request *request, struct buf *out,
                             struct refusal *refusal)
{
    const struct pool_intake intake = { .max_depth = SLICE_DEPTH_MAX,
                                        .processes = 2,
                                        .idempotency_key = "key" };
    struct blob *body = blob_new(request->body, strlen(request->body));
    struct pool_spec *spec = NULL;
    enum status st = ST_NO_MEMORY;

    if (body)
        st = pool_json_parse(body, &intake, &spec, refusal);
    if (st == ST_OK)
        pool_json_write(out, spec);
    pool_spec_unref(spec);
    blob_unref(body);
    return st;
}

static const struct request requests[] = {
    { "apply",
      read_job,
      { .method = JOB_APPLY, .async = true },
      "{" MEMBERS ",\"args\":[1,2],\"kwargs\":{\"a\":[1,2]}}",
      false },
    { "map",
      read_job,
      { .method = JOB_MAP, .async = true },
      "{" MEMBERS ",\"items\":[1,2,3],\"chunksize\":2,\"return_exceptions\":true}",
      false },
    { "apply with an object of many names",
      read_job,
      { .method = JOB_APPLY, .async = true },
      "{\"task\":\"square\",\"args\":[{" MANY_NAMES "}]}",
      false },
    { "batch with an object of many names",
      read_batch,
      { .method = JOB_APPLY, .async = true },
      "[{\"method\":\"apply_async\",\"task\":\"square\",\"args\":[{" MANY_NAMES "}]}]",
      false },
    { "starmap",
      read_job,
      { .method = JOB_STARMAP, .async = true },
      "{" MEMBERS ",\"items\":[[1],[2]]}",
      false },
    { "imap",
      read_job,
      { .method = JOB_IMAP },
      "{\"task\":\"square\",\"items\":[1,2],\"window\":1}",
      false },
    { "batch",
      read_batch,
      { .method = JOB_APPLY, .async = true },
      "[{\"method\":\"apply_async\",\"task\":\"square\",\"args\":[3]},"
      "{\"method\":\"map_async\",\"task\":\"square\",\"items\":[1,2]}]",
      false },
    { "wait",
      read_wait,
      { .method = JOB_APPLY, .async = true },
      "{\"ids\":[\"01890a5d-ac96-774b-bcce-b302099a8057\"],\"timeout\":3,"
      "\"return_when\":\"FIRST_COMPLETED\"}",
      false },
    { "pool",
      read_pool,
      { .method = JOB_APPLY, .async = true },
      "{\"name\":\"small\",\"processes\":2,\"initializer\":\"echo\",\"initargs\":[1],"
      "\"maxtasksperchild\":10}",
      false },
    { "a job with wrong members",
      read_job,
      { .method = JOB_MAP, .async = true },
      "{\"task\":7,\"items\":3,\"retries\":-1,\"tags\":[1],\"nonsense\":true}",
      true },
    { "a batch with a wrong job",
      read_batch,
      { .method = JOB_APPLY, .async = true },
      "[{\"method\":\"apply_async\",\"task\":\"square\",\"args\":[3]},"
      "{\"method\":\"map_async\",\"task\":\"square\",\"items\":7}]",
      true },
    { "a wrong pool",
      read_pool,
      { .method = JOB_APPLY, .async = true },
      "{\"name\":7,\"processes\":-2}",
      true },
    { "no JSON", read_job, { .method = JOB_MAP, .async = true }, "{\"task\":", true },
};

/* A scan that fails for lack of memory is told by the problem only. */
static enum status read_once(const struct request *request, struct buf *out)
{
    struct refusal refusal = { 0 };
    enum status st = request->read(request, out, &refusal);

    if (st == ST_INVALID && refusal.problem == PROBLEM_NO_MEMORY)
        st = ST_NO_MEMORY;
    refusal_clear(&refusal);
    return st;
}

/* false: no allocation failed. */
static bool read_failing(const struct request *request, const struct buf *expected,
                         unsigned n, bool sticky)
{
    struct buf out = BUF_INIT;
    enum status st;
    bool fired;

    mem_fail_at(n, sticky);
    st = read_once(request, &out);
    fired = mem_calls() >= n;
    mem_fail_at(0, 0);
    if (st == ST_OK && !request->wrong) {
        if (!out.failed)
            assert_string_equal(out.data, expected->data);
        assert_true(fired || !out.failed);
    } else if (st != ST_NO_MEMORY && !(request->wrong && st == ST_INVALID)) {
        fail_msg("%s, allocation %u%s: %s", request->name, n,
                 sticky ? " and all after it" : "", status_text(st));
    }
    assert_true(fired || st == (request->wrong ? ST_INVALID : ST_OK));
    buf_clear(&out);
    return fired;
}

static void every_request_is_read_completely_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct buf expected = BUF_INIT;
        enum status st = read_once(&requests[i], &expected);
        unsigned runs = 0;

        if (st != (requests[i].wrong ? ST_INVALID : ST_OK))
            fail_msg("%s: %s", requests[i].name, status_text(st));
        for (int sticky = 0; sticky < 2; sticky++)
            for (unsigned n = 1; read_failing(&requests[i], &expected, n, sticky); n++)
                runs++;
        print_message("%s: %u runs\n", requests[i].name, runs);
        buf_clear(&expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_is_read_completely_or_not_at_all),
    };

    json_load_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
