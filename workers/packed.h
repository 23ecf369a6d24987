/* SPDX-License-Identifier: MIT */
/*
 * packed - a list of integers as numbers of 8 bytes instead of as JSON text.
 *
 * It is how a worker and its runner exchange integers (PROTOCOL.md, section 4): C reads and
 * writes their digits at a tenth of what Python takes for it. The numbers are signed, of 64
 * bits, little-endian, one behind the other.
 *
 * Pure code, but for the memory of the buffer.
 */
#ifndef WORKERS_PACKED_H
#define WORKERS_PACKED_H

#include "common/blob.h"
#include "common/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define PACKED_LEN 8 /* bytes of a number */

/* Appends `count` numbers for the values of a list (valid JSON, separated by commas). false,
 * and the buffer as it was, if one of them is no integer, if one has more than 18 digits, if
 * there are more or fewer of them, or without memory: then they remain text. */
bool packed_from_text(struct text list, uint32_t count, struct buf *out);
/* Appends the numbers as JSON texts separated by commas. false, and the buffer as it was, if
 * these are no whole numbers, or none; out->failed is set without memory. */
bool packed_to_text(struct text numbers, struct buf *out);

#endif
