/* SPDX-License-Identifier: MIT */
#include "server/trace.h"

#include <string.h>

/* ---- traceparent ------------------------------------------------------------------- */

static const struct {
    size_t at, len;
} fields[] = { { 0, 2 }, { 3, 32 }, { 36, 16 }, { 53, 2 } };

static bool is_hex(const char *text, size_t len)
{
    return strspn(text, "0123456789abcdef") >= len;
}

static bool is_zero(const char *text, size_t len)
{
    return strspn(text, "0") >= len;
}

static bool is_valid(const char *value)
{
    if (strnlen(value, TRACE_PARENT_LEN) < TRACE_PARENT_LEN)
        return false;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (!is_hex(value + fields[i].at, fields[i].len) ||
            (i > 0 && value[fields[i].at - 1] != '-'))
            return false;
    if (strncmp(value, "ff", 2) == 0 || is_zero(value + 3, 32) || is_zero(value + 36, 16))
        return false;
    if (value[TRACE_PARENT_LEN])
        return strncmp(value, "00", 2) != 0 && value[TRACE_PARENT_LEN] == '-';
    return true;
}

bool trace_parent_take(const char *value, char ret_parent[TRACE_PARENT_LEN + 1])
{
    ret_parent[0] = '\0';
    if (!value || !is_valid(value))
        return false;
    memcpy(ret_parent, value, TRACE_PARENT_LEN);
    memcpy(ret_parent, "00", 2);
    ret_parent[TRACE_PARENT_LEN] = '\0';
    return true;
}

/* ---- tracestate -------------------------------------------------------------------- */

#define KEY_MAX    256
#define TENANT_MAX 241 /* of a key TENANT@SYSTEM */
#define SYSTEM_MAX 14
#define VALUE_MAX  256
#define LETTERS    "abcdefghijklmnopqrstuvwxyz"
#define DIGITS     "0123456789"
#define KEY_CHARS  LETTERS DIGITS "_-*/"

static bool has_only(struct text text, const char *chars)
{
    for (size_t i = 0; i < text.len; i++)
        if (!strchr(chars, text.at[i]))
            return false;
    return true;
}

static bool is_name(struct text text, const char *first, size_t max)
{
    return text.len >= 1 && text.len <= max && strchr(first, text.at[0]) &&
           has_only(text, KEY_CHARS);
}

static bool is_key(struct text key)
{
    const char *at = memchr(key.at, '@', key.len);
    size_t tenant = at ? (size_t)(at - key.at) : 0;

    if (!at)
        return is_name(key, LETTERS, KEY_MAX);
    return is_name((struct text){ key.at, tenant }, LETTERS DIGITS, TENANT_MAX) &&
           is_name((struct text){ at + 1, key.len - tenant - 1 }, LETTERS, SYSTEM_MAX);
}

/* Without the white space that may be at its end. */
static bool is_value(struct text value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.at[i] < ' ' || value.at[i] > '~' || value.at[i] == '=')
            return false;
    return value.len >= 1 && value.len <= VALUE_MAX;
}

static bool is_member(struct text member)
{
    const char *equals = memchr(member.at, '=', member.len);
    size_t key = equals ? (size_t)(equals - member.at) : 0;

    return equals && is_key((struct text){ member.at, key }) &&
           is_value((struct text){ equals + 1, member.len - key - 1 });
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct text trimmed(struct text text)
{
    for (; text.len > 0 && is_blank(text.at[0]); text.at++)
        text.len--;
    while (text.len > 0 && is_blank(text.at[text.len - 1]))
        text.len--;
    return text;
}

void trace_state_add(struct trace_state *state, const char *value)
{
    for (;;) {
        size_t len = strcspn(value, ",");
        struct text member = trimmed((struct text){ value, len });

        if (member.len > 0 && (state->count == TRACE_MEMBERS_MAX || !is_member(member)))
            state->bad = true;
        if (state->bad)
            return;
        if (member.len > 0)
            state->members[state->count++] = member;
        if (!value[len])
            return;
        value += len + 1;
    }
}

/* Takes members of at least `least` bytes out, from the end, until what is left fits. *len is
 * that of all with a comma behind each. */
static void shorten(struct trace_state *state, size_t *len, size_t least)
{
    for (unsigned i = state->count; i-- > 0 && *len > TRACE_STATE_MAX + 1;) {
        if (state->members[i].len < least)
            continue;
        *len -= state->members[i].len + 1;
        state->count--;
        memmove(&state->members[i], &state->members[i + 1],
                (state->count - i) * sizeof(state->members[0]));
    }
}

void trace_state_write(struct trace_state *state, char ret_state[TRACE_STATE_MAX + 1])
{
    size_t len = 0;
    char *at = ret_state;

    *at = '\0';
    if (state->bad || state->count == 0)
        return;
    for (unsigned i = 0; i < state->count; i++)
        len += state->members[i].len + 1;
    shorten(state, &len, TRACE_MEMBER_LONG + 1);
    shorten(state, &len, 0);
    for (unsigned i = 0; i < state->count; i++) {
        if (i > 0)
            *at++ = ',';
        memcpy(at, state->members[i].at, state->members[i].len);
        at += state->members[i].len;
    }
    *at = '\0';
}

/* ---- both -------------------------------------------------------------------------- */

bool trace_take(const char *parent, const char *state, char ret_trace[TRACE_MAX + 1])
{
    struct trace_state taken;

    if (!trace_parent_take(parent, ret_trace))
        return false;
    if (state) {
        trace_state_init(&taken);
        trace_state_add(&taken, state);
        trace_state_write(&taken, ret_trace + TRACE_PARENT_LEN);
    }
    return true;
}

#define PARENT_MEMBER ",\"traceparent\":\""
#define STATE_MEMBER  ",\"tracestate\":\""

void trace_write_json(struct buf *out, const char *trace)
{
    const char *state;

    if (!trace)
        return;
    state = trace_state_of(trace);
    buf_add_str(out, PARENT_MEMBER);
    buf_add(out, trace, TRACE_PARENT_LEN);
    buf_add_char(out, '"');
    if (!state[0])
        return;
    buf_add(out, STATE_MEMBER, strlen(STATE_MEMBER) - 1);
    buf_add_json_string(out, (struct text){ state, strlen(state) });
}

static bool begins(struct text text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len >= len && memcmp(text.at, prefix, len) == 0;
}

static struct text behind(struct text text, size_t skip)
{
    return (struct text){ text.at + skip, text.len - skip };
}

/* The string that begins here, without its escapes: of visible ASCII, it has only those of
 * quotes and backslashes. */
static void read_string(struct text json, char *ret_string, size_t max)
{
    size_t len = 0;

    for (size_t i = 0; i < json.len && json.at[i] != '"' && len < max; i++) {
        if (json.at[i] == '\\' && ++i == json.len)
            break;
        ret_string[len++] = json.at[i];
    }
    ret_string[len] = '\0';
}

bool trace_find_json(struct text json, char ret_trace[TRACE_MAX + 1])
{
    const char *found = memmem(json.at, json.len, PARENT_MEMBER, strlen(PARENT_MEMBER));
    char parent[TRACE_PARENT_LEN + 1], state[TRACE_STATE_MAX + 1] = "";
    struct text rest;

    ret_trace[0] = '\0';
    if (!found)
        return false;
    rest = behind(json, (size_t)(found - json.at) + strlen(PARENT_MEMBER));
    if (rest.len <= TRACE_PARENT_LEN)
        return false;
    memcpy(parent, rest.at, TRACE_PARENT_LEN);
    parent[TRACE_PARENT_LEN] = '\0';
    rest = behind(rest, TRACE_PARENT_LEN + 1);
    if (begins(rest, STATE_MEMBER))
        read_string(behind(rest, strlen(STATE_MEMBER)), state, TRACE_STATE_MAX);
    return trace_take(parent, state, ret_trace);
}
