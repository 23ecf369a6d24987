/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/imap and /v1/imap_unordered with lines of JSON: the first one is the job, each
 * other one an item. The answer begins when the first line is in, and is the same stream as
 * that of a job whose items are known.
 *
 *     line 1 ──> dispatch_submit ──> 200, the stream; or a problem
 *     line n ──> dispatch_feed; no room: the rest of the body waits
 *     end    ──> dispatch_end_input
 *
 * A line that is no item ends the input: as with a generator that raises in Pool.imap, what
 * came before is done and answered, then comes the error. What follows is thrown away.
 */
#include "server/api.h"

#include "common/clock.h"
#include "common/mem.h"
#include "server/failure.h"
#include "server/json_slice.h"
#include "server/refusal.h"

#include <stdio.h>
#include <string.h>

#define LINE_KEPT (64u * 1024) /* bytes of the buffer that are kept between two lines */

struct feeding {
    struct api *api;
    struct request *request;
    enum job_method method;
    struct live *live; /* pinned; NULL before the first line */
    struct feeder feeder;
    struct buf part; /* of a line that is not complete */
    uint64_t line;   /* number of the last complete one */
    bool over;       /* no more is taken: what comes is thrown away */
};

/* ---- lines ------------------------------------------------------------------------- */

/* The input ends before its time. */
static void break_off(struct feeding *feeding, const char *detail, uint64_t line)
{
    feeding->over = true;
    if (feeding->live)
        dispatch_end_input(feeding->live,
                           failure_of_input(&feeding->live->id, detail, line));
}

static void on_room(void *data)
{
    struct feeding *feeding = data;

    request_take_more(feeding->request);
}

static void answer_begun(struct feeding *feeding, struct live *live, bool lenient)
{
    struct preferences applied = { .lenient = lenient };
    struct job_view view;

    live_pin(live);
    feeding->live = live;
    feeding->feeder = (struct feeder){ .on_room = on_room, .data = feeding };
    dispatch_set_feeder(live, &feeding->feeder);
    dispatch_record(live);
    view = view_of(live);
    api_reply_stream(feeding->request, &view, &applied, REUSE_NONE);
}

static void submit(struct feeding *feeding, struct job_spec *spec, bool lenient)
{
    struct dispatch *dispatch = feeding->api->dispatch;
    struct lane *lane = dispatch_lane(dispatch, spec->pool);
    struct live *live = NULL;
    enum status st;

    if (api_over_quota(feeding->api, feeding->request, 1, spec->kwargs.len)) {
        job_spec_unref(spec);
        api_quota_problem(feeding->api, feeding->request);
        return;
    }
    if (dispatch_waiters(dispatch) >= feeding->api->config->max_waiters) {
        job_spec_unref(spec);
        api_problem_retry(feeding->request, PROBLEM_TOO_MANY_WAITERS,
                          "as many requests wait as max_waiters allows");
        return;
    }
    st = dispatch_submit(dispatch, spec, &live);
    if (st == ST_OK) {
        request_set_job(feeding->request, live->id);
        answer_begun(feeding, live, lenient);
    } else {
        api_not_submitted(feeding->request, lane, st);
    }
}

/* The first line; not accepted, the request is answered with the reason. */
static void begin(struct feeding *feeding, struct text line)
{
    struct blob *body = blob_new(line.at ? line.at : "", line.len);
    struct job_rules rules = api_job_rules(feeding->api, feeding->request);
    char trace[TRACE_MAX + 1];
    struct job_intake intake = { .method = feeding->method,
                                 .fed = true,
                                 .owner = api_owner(feeding->request),
                                 .trace = api_trace(feeding->request, trace),
                                 .now_ms = clock_wall_ms() };
    struct preferences preferences;
    struct job_spec *spec = NULL;
    struct refusal refusal;

    if (!body) {
        api_problem_status(feeding->request, ST_NO_MEMORY);
        feeding->over = true;
        return;
    }
    api_preferences(feeding->request, &preferences);
    intake.lenient = preferences.lenient;
    intake.id = dispatch_new_id(feeding->api->dispatch, intake.now_ms);
    if (job_json_parse(body, &intake, &rules, &spec, &refusal) == ST_OK)
        submit(feeding, spec, preferences.lenient);
    else
        api_refuse(feeding->request, &refusal);
    refusal_clear(&refusal);
    blob_unref(body);
    feeding->over = !feeding->live;
}

/* The complete line is no item: the same is said as of a body, and of which line. */
static void refuse_line(struct feeding *feeding, enum slice_verdict verdict,
                        const struct slice_error *error)
{
    struct refusal refusal;
    char detail[sizeof(refusal.detail) + 32];

    refusal_init(&refusal);
    refusal_of_text(&refusal, verdict, error, NULL);
    (void)snprintf(detail, sizeof(detail), "line %llu: %s",
                   (unsigned long long)feeding->line, refusal.detail);
    break_off(feeding, detail, feeding->line);
    refusal_clear(&refusal);
}

static void add_item(struct feeding *feeding, struct text item)
{
    const struct job_status *status = &feeding->live->job.status;
    enum slice_verdict verdict;
    struct slice_error error;
    enum slice_kind kind;

    if (!dispatch_takes_items(feeding->live)) { /* cancelled, or stopped by an error */
        feeding->over = true;
        return;
    }
    verdict = slice_check_sent(item, (unsigned)feeding->api->config->max_json_depth,
                               &kind, &error);
    if (verdict != SLICE_OK) {
        refuse_line(feeding, verdict, &error);
    } else if (status->fed >= feeding->api->config->max_items) {
        break_off(feeding, "there are more items than max_items allows", feeding->line);
    } else if (dispatch_feed(feeding->live, item) != ST_OK) {
        break_off(feeding, "the server is out of memory", feeding->line);
    }
}

static struct text trim(struct text line)
{
    while (line.len && strchr(" \t\r", line.at[0]) && line.at[0]) {
        line.at++;
        line.len--;
    }
    while (line.len && strchr(" \t\r", line.at[line.len - 1]) && line.at[line.len - 1])
        line.len--;
    return line;
}

/* Empty lines are counted, and mean nothing. */
static void take_line(struct feeding *feeding, struct text line)
{
    feeding->line++;
    line = trim(line);
    if (!line.len)
        return;
    if (feeding->live)
        add_item(feeding, line);
    else
        begin(feeding, line);
}

static void refuse_long_line(struct feeding *feeding)
{
    uint64_t max = feeding->api->config->max_item_bytes;
    char detail[120];

    (void)snprintf(detail, sizeof(detail),
                   "line %llu has more bytes than max_item_bytes allows, %llu",
                   (unsigned long long)feeding->line + 1, (unsigned long long)max);
    if (!feeding->live)
        api_problem(feeding->request, PROBLEM_BODY_TOO_LARGE, "%s", detail);
    break_off(feeding, detail, feeding->line + 1);
}

/* Takes what belongs to the current line; gives how much that is. */
static size_t take_some(struct feeding *feeding, const char *bytes, size_t len)
{
    const char *end = memchr(bytes, '\n', len);
    size_t n = end ? (size_t)(end - bytes) : len;
    struct text line = { bytes, n };

    if (feeding->part.len + n > feeding->api->config->max_item_bytes) {
        refuse_long_line(feeding);
        return len;
    }
    if (feeding->part.len || !end) {
        buf_add(&feeding->part, bytes, n);
        line = buf_text(&feeding->part);
    }
    if (feeding->part.failed) {
        if (!feeding->live)
            api_problem_status(feeding->request, ST_NO_MEMORY);
        break_off(feeding, "the server is out of memory", feeding->line + 1);
        return len;
    }
    if (!end)
        return len;
    take_line(feeding, line);
    if (feeding->part.cap > LINE_KEPT)
        buf_clear(&feeding->part);
    else
        buf_reset(&feeding->part);
    return n + 1;
}

/* ---- the body ---------------------------------------------------------------------- */

static bool is_full(struct feeding *feeding)
{
    return feeding->live && dispatch_feed_full(feeding->live);
}

static size_t on_bytes(void *data, const char *bytes, size_t len)
{
    struct feeding *feeding = data;
    size_t taken = 0;

    while (taken < len && !feeding->over && !is_full(feeding)) {
        do
            taken += take_some(feeding, bytes + taken, len - taken);
        while (taken < len && !feeding->over && !is_full(feeding));
        if (feeding->live) /* after which there may be room */
            dispatch_fed(feeding->live);
    }
    return feeding->over ? len : taken;
}

static void on_end(void *data, enum intake_end end)
{
    struct feeding *feeding = data;

    if (end == INTAKE_COMPLETE && !feeding->over &&
        (feeding->part.len || !feeding->live)) { /* without a line feed */
        if (feeding->live)
            take_line(feeding, buf_text(&feeding->part));
        else
            begin(feeding, trim(buf_text(&feeding->part)));
    }
    if (feeding->over || !feeding->live)
        return;
    if (end == INTAKE_COMPLETE) {
        dispatch_fed(feeding->live);
        dispatch_end_input(feeding->live, NULL);
    } else {
        break_off(feeding,
                  end == INTAKE_IDLE
                      ? "no item came for idle_timeout, and all before were done"
                      : "the connection ended before the input",
                  0);
    }
}

static bool is_waiting(void *data)
{
    const struct feeding *feeding = data;
    const struct job_status *status;

    if (!feeding->live)
        return true;
    status = &feeding->live->job.status;
    return status->fed == status->completed + status->failed;
}

static void on_free(void *data)
{
    struct feeding *feeding = data;

    if (feeding->live) {
        dispatch_set_feeder(feeding->live, NULL);
        live_unpin(feeding->live);
    }
    buf_clear(&feeding->part);
    mem_free(feeding);
}

static const struct intake intake = { on_bytes, on_end, is_waiting, on_free };

void api_feed(struct api *api, struct request *request, enum job_method method)
{
    struct feeding *feeding;

    if (!api_query(request, NULL, 0))
        return;
    if (request_header(request, "Idempotency-Key")) {
        api_problem(request, PROBLEM_INVALID_PARAMETER,
                    "Idempotency-Key is not for items that are fed: a request that is "
                    "sent again could not be compared before it is run");
        return;
    }
    feeding = mem_zalloc(sizeof(*feeding));
    if (!feeding) {
        api_problem_status(request, ST_NO_MEMORY);
        return;
    }
    feeding->api = api;
    feeding->request = request;
    feeding->method = method;
    request_take(request, &intake, feeding);
}
