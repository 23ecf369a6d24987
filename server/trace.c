/* SPDX-License-Identifier: MIT */
#include "server/trace.h"

#include <stddef.h>
#include <string.h>

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
