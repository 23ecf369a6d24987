/* SPDX-License-Identifier: MIT */
#include "common/uuid.h"

#include "common/hex.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define COUNTER_BITS 12
#define KEY_MAX      ((UINT64_C(1) << 60) - 1)
#define TAIL_LEN     8 /* variant and random bits */

void uuid_generator_after(struct uuid_generator *gen, struct uuid id)
{
    uint64_t key = uuid_key(id);

    if (key > gen->last_key)
        gen->last_key = key;
}

/* One system call for many ids. Without randomness ids could be guessed, so there is no
 * going on; with these arguments the kernel only refuses when it is told to by a sandbox.
 */
static void refill(struct uuid_generator *gen)
{
    size_t have = 0;

    while (have < sizeof(gen->random)) {
        ssize_t n = getrandom(gen->random + have, sizeof(gen->random) - have, 0);

        assert(n > 0 || errno == EINTR);
        if (n > 0)
            have += (size_t)n;
    }
    gen->random_left = have;
}

struct uuid uuid_next(struct uuid_generator *gen, int64_t wall_ms)
{
    uint64_t key = wall_ms > 0 ? (uint64_t)wall_ms << COUNTER_BITS : 0;
    struct uuid id;

    if (key <= gen->last_key)
        key = gen->last_key + 1;
    assert(key <= KEY_MAX);
    gen->last_key = key;

    if (gen->random_left < TAIL_LEN)
        refill(gen);
    gen->random_left -= TAIL_LEN;
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(key >> (52 - 8 * i));
    id.bytes[6] = (uint8_t)(0x70 | (key >> 8 & 0x0f));
    id.bytes[7] = (uint8_t)key;
    memcpy(id.bytes + 8, gen->random + gen->random_left, TAIL_LEN);
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
    return id;
}

uint64_t uuid_key(struct uuid id)
{
    uint64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    return ms << COUNTER_BITS | (uint64_t)(id.bytes[6] & 0x0f) << 8 | id.bytes[7];
}

int64_t uuid_time_ms(struct uuid id)
{
    int64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | id.bytes[i];
    return ms;
}

bool uuid_equal(struct uuid a, struct uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

static bool dash_before(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void uuid_format(struct uuid id, char ret_text[UUID_TEXT_LEN + 1])
{
    char *at = ret_text;

    for (int i = 0; i < 16; i++) {
        if (dash_before(i))
            *at++ = '-';
        *at++ = hex_digit(id.bytes[i] >> 4);
        *at++ = hex_digit(id.bytes[i]);
    }
    *at = '\0';
}

bool uuid_parse(const char *text, size_t len, struct uuid *ret_id)
{
    struct uuid id;

    if (len != UUID_TEXT_LEN)
        return false;
    for (int i = 0; i < 16; i++) {
        int high, low;

        if (dash_before(i) && *text++ != '-')
            return false;
        high = hex_value(*text++);
        low = hex_value(*text++);
        if (high < 0 || low < 0)
            return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (id.bytes[6] >> 4 != 7 || id.bytes[8] >> 6 != 2)
        return false;
    *ret_id = id;
    return true;
}
