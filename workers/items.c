/* SPDX-License-Identifier: MIT */
#include "workers/items.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

/* at is behind the opening quote; gives the place behind the closing one. A quote is
 * escaped when an odd number of backslashes stands before it. Each backslash is looked at
 * once only, since the next search starts behind the quote. */
static const char *string_end(const char *at, const char *end)
{
    while (at < end) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        const char *p = quote;

        if (!quote)
            return end;
        while (p > at && p[-1] == '\\')
            p--;
        if ((quote - p) % 2 == 0)
            return quote + 1;
        at = quote + 1;
    }
    return end;
}

/* at is on the opening bracket. Both kinds of brackets count alike: in valid text they
 * pair. */
static const char *container_end(const char *at, const char *end)
{
    size_t depth = 0;

    while (at < end) {
        switch (*at++) {
        case '[':
        case '{':
            depth++;
            break;
        case ']':
        case '}':
            if (--depth == 0)
                return at;
            break;
        case '"':
            at = string_end(at, end);
            break;
        default:
            break;
        }
    }
    return end;
}

/* Behind the value that starts at `at`, which is before end. */
static const char *value_end(const char *at, const char *end)
{
    if (*at == '"')
        return string_end(at + 1, end);
    if (*at == '[' || *at == '{')
        return container_end(at, end);
    while (at < end && *at != ',' && !is_space(*at))
        at++;
    return at;
}

static struct text text_between(const char *at, const char *end)
{
    return (struct text){ at, (size_t)(end - at) };
}

/* What follows a value: its comma is dropped. */
static struct text rest_after(const char *at, const char *end)
{
    at = skip_space(at, end);
    if (at < end && *at == ',')
        at++;
    return text_between(at, end);
}

bool items_next_any(struct text *rest, struct text *ret_item)
{
    const char *at, *end, *stop;

    if (rest->len == 0)
        return false;
    end = rest->at + rest->len;
    at = skip_space(rest->at, end);
    if (at == end)
        return false;
    stop = value_end(at, end);
    *ret_item = text_between(at, stop);
    *rest = rest_after(stop, end);
    return true;
}

bool items_next_member(struct text *rest, struct text *ret_name, struct text *ret_value)
{
    const char *at, *end, *stop;

    if (rest->len == 0)
        return false;
    end = rest->at + rest->len;
    at = skip_space(rest->at, end);
    if (at == end || *at != '"')
        return false;
    stop = string_end(at + 1, end);
    if (stop - at < 2)
        return false;
    at++;
    *ret_name = text_between(at, stop - 1);

    at = skip_space(stop, end);
    if (at == end || *at != ':')
        return false;
    *rest = text_between(at + 1, end);
    return items_next(rest, ret_value);
}

struct text items_inside(struct text container)
{
    const char *at, *end;

    if (container.len == 0)
        return container;
    end = container.at + container.len;
    at = skip_space(container.at, end);
    while (end > at && is_space(end[-1]))
        end--;
    if (end - at < 2 || (*at != '[' && *at != '{'))
        return text_between(end, end);
    return text_between(at + 1, end - 1);
}
