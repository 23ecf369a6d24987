/* SPDX-License-Identifier: MIT */
#include "server/attempt_log.h"

#include "common/mem.h"

#include <assert.h>
#include <string.h>

void attempt_log_clear(struct attempt_log *log)
{
    for (size_t i = 0; i < log->count; i++)
        blob_unref(log->texts[i]);
    mem_free(log->texts);
    memset(log, 0, sizeof(*log));
}

static bool grow(struct attempt_log *log)
{
    size_t cap = log->cap ? 2 * log->cap : 4;
    struct blob **texts;

    if (cap > ATTEMPTS_MAX)
        cap = ATTEMPTS_MAX;
    texts = mem_realloc(log->texts, cap * sizeof(struct blob *));
    if (!texts)
        return false;
    log->texts = texts;
    log->cap = cap;
    return true;
}

bool attempt_log_add(struct attempt_log *log, struct blob *text)
{
    if (log->count == ATTEMPTS_MAX) {
        blob_unref(log->texts[log->oldest]);
        log->texts[log->oldest] = text;
        log->oldest = (log->oldest + 1) % ATTEMPTS_MAX;
        log->dropped++;
        return true;
    }
    if (log->count == log->cap && !grow(log)) {
        blob_unref(text);
        return false;
    }
    log->texts[log->count++] = text;
    return true;
}

struct blob *attempt_log_at(const struct attempt_log *log, size_t i)
{
    assert(i < log->count);
    return log->texts[(log->oldest + i) % log->count];
}

bool attempt_log_copy(struct attempt_log *log, const struct attempt_log *from)
{
    assert(log->count == 0);
    for (size_t i = 0; i < from->count; i++) {
        if (!attempt_log_add(log, blob_ref(attempt_log_at(from, i)))) {
            attempt_log_clear(log);
            return false;
        }
    }
    log->dropped = from->dropped;
    return true;
}
