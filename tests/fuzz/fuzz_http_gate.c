/* SPDX-License-Identifier: MIT */
/*
 * The headers of a request. The input is its version and then "name:value", a line each.
 *
 * - Those that are let in are few and short, have no control byte, and none that frames,
 *   routes or authorises the request comes twice.
 * - A body has one length at most, the one that is written there, within the limit.
 * - What is refused has a reason.
 */
#include "tests/fuzz/fuzz.h"

#include "server/http_gate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_MAX  1000000 /* bytes */
#define LINES_MAX (64 + 2)

static const struct gate_limits limits = { 2048, 64, 8192 };

struct lines {
    unsigned count;
    char *names[LINES_MAX], *values[LINES_MAX];
};

static void check_header(const struct lines *seen, const char *name, const char *value)
{
    static const char *const singles[] = {
        "host",         "content-length", "transfer-encoding",
        "content-type", "authorization",  "idempotency-key",
        "expect",       "origin",         "content-encoding"
    };

    assert(seen->count < limits.headers);
    assert(strlen(value) <= limits.header_bytes);
    assert(name[0] && !strpbrk(name, " \t\r\"(),/:;<=>?@[\\]{}\x7f"));
    for (const char *c = name; *c; c++)
        assert(*c > ' ' && *c < 0x7f);
    for (const char *c = value; *c; c++)
        assert(*c == '\t' || ((unsigned char)*c >= ' ' && *c != 0x7f));
    for (size_t i = 0; i < sizeof(singles) / sizeof(*singles); i++)
        for (unsigned j = 0; strcasecmp(singles[i], name) == 0 && j < seen->count; j++)
            assert(strcasecmp(seen->names[j], name) != 0);
}

static const char *value_of(const struct lines *seen, const char *name)
{
    for (unsigned i = 0; i < seen->count; i++)
        if (strcasecmp(seen->names[i], name) == 0)
            return seen->values[i];
    return NULL;
}

static void check_body(const struct lines *seen, int64_t length)
{
    const char *announced = value_of(seen, "Content-Length");
    int64_t n = 0;

    assert(!announced || !value_of(seen, "Transfer-Encoding"));
    if (!announced) {
        assert(length == -1);
        return;
    }
    assert(announced[0]);
    for (const char *c = announced; *c; c++) {
        assert(*c >= '0' && *c <= '9');
        n = n * 10 + (*c - '0');
        assert(n <= BODY_MAX);
    }
    assert(n == length);
}

/* false: the request is refused. */
static bool let_in(char *rest, struct gate_headers *headers, struct lines *seen,
                   struct error_text *err)
{
    char *line;

    while ((line = strsep(&rest, "\n")) && *line) {
        char *value = strchr(line, ':');

        if (!value)
            value = strchr(line, '\0');
        else
            *value++ = '\0';
        if (gate_header(&limits, headers, line, value, err) != PROBLEM_COUNT)
            return false;
        check_header(seen, line, value);
        seen->names[seen->count] = line;
        seen->values[seen->count++] = value;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = strndup(size ? (const char *)data : "", size), *rest = copy;
    struct gate_headers headers = { 0 };
    struct error_text err = { "" };
    struct lines seen = { 0 };
    const char *version = strsep(&rest, "\n");
    int64_t length = 0;

    assert(copy);
    if (gate_version(version, &err) == PROBLEM_COUNT &&
        let_in(rest, &headers, &seen, &err) &&
        gate_body(&headers, version, BODY_MAX, &length, &err) == PROBLEM_COUNT)
        check_body(&seen, length);
    else
        assert(err.text[0]);
    free(copy);
    return 0;
}
