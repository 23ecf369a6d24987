/* SPDX-License-Identifier: MIT */
/*
 * A request body of many megabytes is collected in a buffer and then becomes a blob. To
 * save the copy, the buffer's memory is laid out as a blob from the start:
 *
 *     | struct blob (not filled in) | cap bytes | NUL |
 *     ^ the allocation              ^ data
 *
 * buf_take_blob fills in the header and hands the allocation over.
 */
#include "common/buf.h"

#include "common/hex.h"
#include "common/mem.h"
#include "common/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HEADER    offsetof(struct blob, data)
#define OVERHEAD  (HEADER + 1) /* bytes of an allocation that are not capacity */
#define FIRST_CAP (128 - OVERHEAD)
#define CAP_MAX   ((size_t)PTRDIFF_MAX - OVERHEAD)

static void *allocation(const struct buf *buf)
{
    return buf->data ? buf->data - HEADER : NULL;
}

void buf_clear(struct buf *buf)
{
    mem_free(allocation(buf));
    *buf = (struct buf)BUF_INIT;
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data)
        buf->data[0] = '\0';
}

static bool set_cap(struct buf *buf, size_t cap)
{
    char *block = mem_realloc(allocation(buf), cap + OVERHEAD);

    if (!block)
        return false;
    buf->data = block + HEADER;
    buf->cap = cap;
    buf->data[buf->len] = '\0';
    return true;
}

static bool grow(struct buf *buf, size_t more)
{
    size_t cap = FIRST_CAP;

    if (buf->failed)
        return false;
    if (more > CAP_MAX - buf->len) {
        buf->failed = true;
        return false;
    }
    if (buf->data)
        cap = buf->cap <= (CAP_MAX - OVERHEAD) / 2 ? buf->cap * 2 + OVERHEAD : CAP_MAX;
    if (cap < buf->len + more)
        cap = buf->len + more;
    buf->failed = !set_cap(buf, cap);
    return !buf->failed;
}

bool buf_reserve(struct buf *buf, size_t more)
{
    if (buf->data && more <= buf->cap - buf->len && !buf->failed)
        return true;
    return grow(buf, more);
}

void buf_add(struct buf *buf, const void *bytes, size_t len)
{
    if (!buf_reserve(buf, len))
        return;
    if (len)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_add_text(struct buf *buf, struct text text)
{
    buf_add(buf, text.at, text.len);
}

void buf_add_str(struct buf *buf, const char *string)
{
    buf_add(buf, string, strlen(string));
}

void buf_add_u64(struct buf *buf, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    buf_add(buf, digits + at, sizeof(digits) - at);
}

void buf_addf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    int len;

    /* Most texts fit into what any buffer starts with, and are formatted once. */
    if (!buf_reserve(buf, 0))
        return;
    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(buf->data + buf->len, buf->cap - buf->len + 1, format, args);
    if (len < 0) {
        buf->failed = true;
    } else if ((size_t)len > buf->cap - buf->len && grow(buf, (size_t)len)) {
        len = vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        assert(len >= 0);
    }
    va_end(again);
    va_end(args);
    if (!buf->failed)
        buf->len += (size_t)len;
    buf->data[buf->len] = '\0';
}

/* The letter after the backslash for a byte that must not stand in a JSON string as it
 * is, 'u' for those without a short form, 0 for the rest. */
static const char json_escapes[256] = {
    ['\b'] = 'b',  ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"',
    ['\\'] = '\\', [0x00] = 'u', [0x01] = 'u', [0x02] = 'u', [0x03] = 'u', [0x04] = 'u',
    [0x05] = 'u',  [0x06] = 'u', [0x07] = 'u', [0x0b] = 'u', [0x0e] = 'u', [0x0f] = 'u',
    [0x10] = 'u',  [0x11] = 'u', [0x12] = 'u', [0x13] = 'u', [0x14] = 'u', [0x15] = 'u',
    [0x16] = 'u',  [0x17] = 'u', [0x18] = 'u', [0x19] = 'u', [0x1a] = 'u', [0x1b] = 'u',
    [0x1c] = 'u',  [0x1d] = 'u', [0x1e] = 'u', [0x1f] = 'u',
};

static void add_json_escape(struct buf *buf, unsigned char byte)
{
    char escape[6] = { '\\', json_escapes[byte],   '0',
                       '0',  hex_digit(byte >> 4), hex_digit(byte) };

    buf_add(buf, escape, json_escapes[byte] == 'u' ? 6 : 2);
}

void buf_add_json_string(struct buf *buf, struct text text)
{
    size_t clean = 0; /* start of the bytes that can be copied in one go */

    /* One growth for the usual string, which needs no escapes. */
    if (text.len > CAP_MAX - 2 || !buf_reserve(buf, text.len + 2)) {
        buf->failed = true;
        return;
    }
    buf_add_char(buf, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];

        if (!json_escapes[byte])
            continue;
        buf_add(buf, text.at + clean, i - clean);
        add_json_escape(buf, byte);
        clean = i + 1;
    }
    if (clean < text.len)
        buf_add(buf, text.at + clean, text.len - clean);
    buf_add_char(buf, '"');
}

void buf_add_json_bytes(struct buf *buf, struct text text)
{
    struct buf clean = BUF_INIT;

    for (size_t i = 0, len; i < text.len; i += len ? len : 1) {
        len = utf8_len(text.at + i, text.len - i);
        if (len > 0)
            buf_add(&clean, text.at + i, len);
        else
            buf_add_str(&clean, "\xef\xbf\xbd");
    }
    buf_add_json_string(buf, buf_text(&clean));
    buf->failed |= clean.failed;
    buf_clear(&clean);
}

void buf_drop_front(struct buf *buf, size_t n)
{
    assert(n <= buf->len);
    if (n == 0)
        return;
    buf->len -= n;
    memmove(buf->data, buf->data + n, buf->len + 1);
}

struct text buf_text(const struct buf *buf)
{
    return (struct text){ buf->data, buf->len };
}

struct blob *buf_take_blob(struct buf *buf)
{
    struct blob *blob;

    if (buf->failed || !buf_reserve(buf, 0)) {
        buf_clear(buf);
        return NULL;
    }
    /* A blob may be kept for long: give back what growing by doubling has left over. Not
     * being able to is no failure. */
    if (buf->cap - buf->len > 64 + buf->len / 4)
        (void)set_cap(buf, buf->len);
    blob = allocation(buf);
    atomic_init(&blob->refs, 1);
    blob->len = buf->len;
    *buf = (struct buf)BUF_INIT;
    return blob;
}
