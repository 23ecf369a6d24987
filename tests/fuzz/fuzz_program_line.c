/* SPDX-License-Identifier: MIT */
/*
 * Lines of a program.
 *
 * - A line that is taken is one JSON object for jansson as well, with that id.
 * - What is taken out of it is JSON by itself, and an error becomes an exception that the
 *   server can read.
 * - One that is refused has a reason.
 */
#include "tests/fuzz/fuzz.h"

#include "workers/program_line.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

static void check_exception(struct text error)
{
    struct buf out = BUF_INIT;
    bool is_memory;
    json_t *json;

    program_line_exception(error, &out, &is_memory);
    assert(!out.failed);
    json = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    assert(json_is_string(json_object_get(json, "type")));
    assert(json_is_string(json_object_get(json, "message")));
    assert(json_is_string(json_object_get(json, "traceback")));
    json_decref(json);
    buf_clear(&out);
}

/* It refuses numbers that its types cannot hold. */
static void check_against_jansson(struct text line, const struct program_answer *answer)
{
    json_error_t error;
    json_t *json = json_loadb(line.at, line.len, 0, &error);

    if (json && !memchr(line.at, '\\', line.len)) /* "\u0069d" is an id for it alone */
        assert((uint64_t)json_integer_value(json_object_get(json, "id")) == answer->id);
    else if (!json)
        assert(json_error_code(&error) == json_error_numeric_overflow);
    json_decref(json);
}

static void check_answer(struct text line, const struct program_answer *answer)
{
    struct program_progress progress;
    struct text value;

    assert(answer->value.at >= line.at &&
           answer->value.at + answer->value.len <= line.at + line.len);
    assert(program_line_is_json(answer->value, &value));
    assert(value.at == answer->value.at && value.len == answer->value.len);
    if (answer->kind == PROGRAM_ERROR)
        check_exception(answer->value);
    if (answer->kind == PROGRAM_PROGRESS)
        assert(program_line_progress(answer->value, &progress));
}

static void check_text(struct text line)
{
    struct buf out = BUF_INIT;
    json_t *json;

    if (!program_line_is_text(line))
        return;
    buf_add_json_string(&out, line);
    json = json_loadb(out.data, out.len, JSON_DECODE_ANY, NULL);
    assert(json_string_length(json) == line.len);
    json_decref(json);
    buf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text line = { size ? (const char *)data : "", size };
    struct program_answer answer;
    const char *why = NULL;
    bool taken = program_line_parse(line, &answer, &why);

    assert(taken == !why);
    if (taken) {
        check_against_jansson(line, &answer);
        check_answer(line, &answer);
    }
    check_text(line);
    return 0;
}
