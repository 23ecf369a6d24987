/* SPDX-License-Identifier: MIT */
/*
 * The headers of W3C Trace Context. The input is lines: a traceparent, and the headers of the
 * tracestate.
 *
 * - What is taken fits, is visible ASCII, and is taken again as it is.
 * - Each member of a tracestate that is taken was one, in this order.
 * - As members of a JSON object it is what jansson reads, and is found again.
 */
#include "tests/fuzz/fuzz.h"

#include "server/trace.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Takes the members of `state` away from what the headers have, in their order. */
static void check_members(const char *state, const char *headers)
{
    unsigned count = 0;

    while (*state) {
        size_t len = strcspn(state, ",");
        const char *found = memmem(headers, strlen(headers), state, len);

        assert(len > 0 && found);
        assert(++count <= TRACE_MEMBERS_MAX);
        headers = found + len;
        state += len + (state[len] == ',');
    }
}

static void check_json(const char *trace)
{
    char found[TRACE_MAX + 1], parent[TRACE_PARENT_LEN + 1];
    struct buf out = BUF_INIT;
    const char *state;
    json_t *json;

    buf_add_str(&out, "{\"task\":\"t\"");
    trace_write_json(&out, trace);
    buf_add_char(&out, '}');
    assert(!out.failed && trace_find_json(buf_text(&out), found));
    assert(strcmp(found, trace) == 0);
    json = json_loads(out.data, 0, NULL);
    assert(json);
    memcpy(parent, trace, TRACE_PARENT_LEN);
    parent[TRACE_PARENT_LEN] = '\0';
    assert(strcmp(json_string_value(json_object_get(json, "traceparent")), parent) == 0);
    state = json_string_value(json_object_get(json, "tracestate"));
    assert(strcmp(state ? state : "", trace_state_of(trace)) == 0);
    json_decref(json);
    buf_clear(&out);
}

static void check_trace(const char *trace)
{
    char again[TRACE_MAX + 1], parent[TRACE_PARENT_LEN + 1];

    assert(strlen(trace) >= TRACE_PARENT_LEN && strlen(trace) <= TRACE_MAX);
    for (const char *at = trace; *at; at++)
        assert(*at >= ' ' && *at <= '~');
    memcpy(parent, trace, TRACE_PARENT_LEN);
    parent[TRACE_PARENT_LEN] = '\0';
    assert(trace_take(parent, trace_state_of(trace), again));
    assert(strcmp(again, trace) == 0);
    check_json(trace);
}

/* What may be in a message that was stored. */
static void check_foreign_json(const char *text, size_t size)
{
    char trace[TRACE_MAX + 1];

    if (trace_find_json((struct text){ text, size }, trace))
        check_trace(trace);
    else
        assert(!trace[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size), *headers, *lines, *line, *rest;
    char trace[TRACE_MAX + 1];
    struct trace_state state;

    assert(text);
    check_foreign_json((const char *)data, size);
    rest = text;
    line = strsep(&rest, "\n");
    if (!trace_parent_take(line, trace)) {
        assert(!trace[0]);
        free(text);
        return 0;
    }
    headers = strdup(rest ? rest : "");
    lines = rest;
    assert(headers);
    trace_state_init(&state);
    while ((line = strsep(&lines, "\n")))
        trace_state_add(&state, line);
    trace_state_write(&state, trace + TRACE_PARENT_LEN);
    assert(!state.bad || !trace_state_of(trace)[0]);
    check_members(trace_state_of(trace), headers);
    check_trace(trace);
    free(headers);
    free(text);
    return 0;
}
