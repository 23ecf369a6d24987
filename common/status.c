/* SPDX-License-Identifier: MIT */
#include "common/status.h"

#include <stddef.h>
#include <stdio.h>

static const char *const status_texts[ST_COUNT] = {
#define X(name, text) [name] = text,
    STATUS_LIST(X)
#undef X
};

const char *status_text(enum status st)
{
    if ((unsigned)st >= ST_COUNT)
        return "unknown status";
    return status_texts[st];
}

/* The text ends up in JSON, so a cut must not leave half a UTF-8 sequence behind. */
static void drop_cut_sequence(char *text, size_t len)
{
    size_t start = len;

    while (start > 0 && len - start < 3 &&
           ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return;

    unsigned char lead = (unsigned char)text[start - 1];
    size_t want = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;

    if (len - start < want)
        text[start - 1] = '\0';
}

enum status error_set(struct error_text *err, enum status st, const char *format, ...)
{
    va_list args;
    int len;

    if (!err)
        return st;
    va_start(args, format);
    len = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (len < 0)
        snprintf(err->text, sizeof(err->text), "%s", status_text(st));
    else if ((size_t)len >= sizeof(err->text))
        drop_cut_sequence(err->text, sizeof(err->text) - 1);
    return st;
}
