/* SPDX-License-Identifier: MIT */
/*
 * buf - a byte buffer that grows.
 *
 * All-zero is a valid empty buffer. Appending can run out of memory: the buffer then
 * keeps what it had, `failed` is set, and every later append does nothing, so that a
 * sequence of appends needs one check at its end: `if (buf.failed)`. data[len] is a NUL
 * once anything was appended; it is not part of cap.
 *
 * data points into an allocation (room for a blob's header comes before it), so it must
 * not be freed or replaced by hand. After buf_reserve, up to cap - len bytes may be
 * written at data + len and len be raised by as many.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include "common/blob.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t len, cap; /* bytes */
    bool failed;     /* an append ran out of memory */
};

#define BUF_INIT                                                                         \
    {                                                                                    \
        0                                                                                \
    }

void buf_clear(struct buf *buf); /* frees; the buffer is empty and usable again */
void buf_reset(struct buf *buf); /* empties, keeps the memory, forgets a failure */

/* Makes room for `more` bytes beyond len; false, and a failed buffer, without memory. */
bool buf_reserve(struct buf *buf, size_t more);
void buf_add(struct buf *buf, const void *bytes, size_t len);
void buf_add_text(struct buf *buf, struct text text);
void buf_add_str(struct buf *buf, const char *string);
static inline void buf_add_char(struct buf *buf, char c);
void buf_add_u64(struct buf *buf, uint64_t n); /* decimal */
void buf_addf(struct buf *buf, const char *format, ...) PRINTF(2, 3);
/* The bytes as a JSON string with its quotes (RFC 8259): quote, backslash and control
 * bytes are escaped, the rest is copied. The caller guarantees UTF-8. */
void buf_add_json_string(struct buf *buf, struct text text);
/* The same for bytes from anywhere: each that is part of no UTF-8 becomes U+FFFD. */
void buf_add_json_bytes(struct buf *buf, struct text text);
/* Removes the first n bytes. */
void buf_drop_front(struct buf *buf, size_t n);

struct text buf_text(const struct buf *buf);
/* The content as a blob with one reference, not copied; the buffer is left empty. NULL
 * without memory, or if an append had failed; the buffer is cleared in either case. */
struct blob *buf_take_blob(struct buf *buf);

static inline void buf_add_char(struct buf *buf, char c)
{
    if ((buf->failed || buf->len == buf->cap) && !buf_reserve(buf, 1))
        return;
    buf->data[buf->len++] = c;
    buf->data[buf->len] = '\0';
}

#endif
