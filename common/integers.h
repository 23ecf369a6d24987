/* SPDX-License-Identifier: MIT */
/*
 * integers - finds integers in a JSON array, 64 bytes at a time.
 *
 * Most of what long maps are given is integers, and to go through these one by one costs
 * more than all else that is done to a body. Here a block of 64 bytes becomes four words of
 * 64 bits, which say of each byte whether it is a digit, a 0, a minus, a comma or a space; what
 * the grammar wants of neighbours (RFC 8259, section 6) are a few operations on all of these
 * bits at once.
 *
 * Only what is fine is found. Whatever else there is, an error or another kind of element, is
 * left to common/json_scan.h, which alone says what is wrong.
 *
 * Pure: no I/O, no memory.
 */
#ifndef COMMON_INTEGERS_H
#define COMMON_INTEGERS_H

#include "common/digits.h"

#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define INTEGERS_BLOCK 64 /* bytes */

/* Bit i is byte i of a block. The elements at its front that are integers, each with a comma
 * right behind it: where these begin, and their commas, as many. */
struct integers {
    uint64_t starts, commas;
};

/* What the bytes of a block are. */
struct integers_block {
    uint64_t digits, zeros, commas, minuses, spaces;
};

/* The top bits of the eight bytes as the lowest bits of a word. */
static inline uint64_t integers_pack(uint64_t tops)
{
    return (tops >> 7) * 0x0102040810204080u >> 56;
}

/* The top bit of each byte that is the same as `byte`, and no other one. */
static inline uint64_t integers_same(uint64_t word, uint8_t byte)
{
    uint64_t other = word ^ EACH_BYTE(byte);

    return ~(((other & EACH_BYTE(0x7F)) + EACH_BYTE(0x7F)) | other) & EACH_BYTE(0x80);
}

/* On any machine. */
static inline struct integers_block integers_classify_words(const uint8_t *p)
{
    struct integers_block block = { 0 };

    for (unsigned i = 0; i < INTEGERS_BLOCK; i += 8) {
        uint64_t word = load8(p + i), value = word ^ EACH_BYTE('0');
        uint64_t other = ((value & EACH_BYTE(0x7F)) + EACH_BYTE(0x80 - 10)) | value;

        block.digits |= integers_pack(~other & EACH_BYTE(0x80)) << i;
        block.zeros |= integers_pack(integers_same(word, '0')) << i;
        block.commas |= integers_pack(integers_same(word, ',')) << i;
        block.minuses |= integers_pack(integers_same(word, '-')) << i;
        block.spaces |= integers_pack(integers_same(word, ' ')) << i;
    }
    return block;
}

#ifdef __SSE2__
static inline uint64_t integers_bits(__m128i bytes)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(bytes);
}

static inline struct integers_block integers_classify_sse2(const uint8_t *p)
{
    struct integers_block block = { 0 };

    for (unsigned i = 0; i < INTEGERS_BLOCK; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i zeros = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('0'));
        /* The comparison is signed: the digits become the ten lowest values of all. */
        __m128i value = _mm_sub_epi8(bytes, _mm_set1_epi8((char)('0' - 0x80)));
        __m128i digits = _mm_cmplt_epi8(value, _mm_set1_epi8(-0x80 + 10));

        block.digits |= integers_bits(digits) << i;
        block.zeros |= integers_bits(zeros) << i;
        block.commas |= integers_bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(','))) << i;
        block.minuses |= integers_bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'))) << i;
        block.spaces |= integers_bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(' '))) << i;
    }
    return block;
}
#endif

/* The block's first byte is the place of an element, or a space in front of one. */
static inline struct integers integers_of(const struct integers_block *block)
{
    uint64_t places = block->commas << 1 | 1;
    uint64_t spaces = block->spaces & places; /* one in front of each, as many write it */
    uint64_t starts = (places & ~spaces) | spaces << 1;
    uint64_t signs = block->minuses & starts;
    uint64_t firsts = (starts & ~signs) | signs << 1; /* the first digits */
    uint64_t known = block->digits | block->commas | signs | spaces;
    uint64_t wrong = ~known | (firsts & ~block->digits) |
                     ((firsts & block->zeros) << 1 & block->digits);
    uint64_t commas = block->commas & ((wrong & -wrong) - 1);
    uint64_t last = commas ? (uint64_t)1 << (63 - __builtin_clzll(commas)) : 0;

    /* Before the lowest wrong byte all is fine; without one that is the whole block. */
    return (struct integers){ starts & (last - (last != 0)), commas };
}

/* The block at p, all of which is read. */
static inline struct integers integers_at(const uint8_t *p)
{
#ifdef __SSE2__
    struct integers_block block = integers_classify_sse2(p);
#else
    struct integers_block block = integers_classify_words(p);
#endif

    return integers_of(&block);
}

#endif
