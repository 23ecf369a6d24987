/* SPDX-License-Identifier: MIT */
#include "workers/json_write.h"

#include "common/json_scan.h"
#include "workers/number.h"

#include <math.h>

static enum status write_value(struct buf *out, const json_t *value, unsigned depth);

static void write_string(struct buf *out, const json_t *value)
{
    buf_add_json_string(
        out, (struct text){ json_string_value(value), json_string_length(value) });
}

static enum status write_real(struct buf *out, const json_t *value)
{
    double n = json_real_value(value);
    char text[NUMBER_TEXT_MAX];

    if (!isfinite(n))
        return ST_INVALID;
    buf_add(out, text, number_format_real(n, text));
    return ST_OK;
}

static enum status write_array(struct buf *out, const json_t *array, unsigned depth)
{
    enum status st = ST_OK;

    buf_add_char(out, '[');
    for (size_t i = 0; st == ST_OK && i < json_array_size(array); i++) {
        if (i > 0)
            buf_add_char(out, ',');
        st = write_value(out, json_array_get(array, i), depth);
    }
    buf_add_char(out, ']');
    return st;
}

static enum status write_object(struct buf *out, const json_t *object, unsigned depth)
{
    json_t *members =
        (json_t *)(uintptr_t)object; /* only read: iterators are not const */
    enum status st = ST_OK;
    bool first = true;

    buf_add_char(out, '{');
    for (void *i = json_object_iter(members); st == ST_OK && i;
         i = json_object_iter_next(members, i)) {
        const char *name = json_object_iter_key(i);

        if (!first)
            buf_add_char(out, ',');
        first = false;
        buf_add_json_string(out, (struct text){ name, json_object_iter_key_len(i) });
        buf_add_char(out, ':');
        st = write_value(out, json_object_iter_value(i), depth);
    }
    buf_add_char(out, '}');
    return st;
}

/* depth is how many containers are open. */
static enum status write_value(struct buf *out, const json_t *value, unsigned depth)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        write_string(out, value);
        return ST_OK;
    case JSON_INTEGER:
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return ST_OK;
    case JSON_REAL:
        return write_real(out, value);
    case JSON_ARRAY:
        return depth == SLICE_DEPTH_MAX ? ST_LIMIT : write_array(out, value, depth + 1);
    case JSON_OBJECT:
        return depth == SLICE_DEPTH_MAX ? ST_LIMIT : write_object(out, value, depth + 1);
    default:
        buf_add_str(out, json_is_true(value)    ? "true"
                         : json_is_false(value) ? "false"
                                                : "null");
        return ST_OK;
    }
}

enum status json_write(struct buf *out, const json_t *value)
{
    return write_value(out, value, 0);
}
