/* SPDX-License-Identifier: MIT */
/*
 * items - walks over the values of JSON text that has been validated before.
 *
 * Finds where a value ends and nothing else: no tree, no copy, no second validation. On
 * text that is not valid JSON it never reads outside of the text and always comes to an
 * end, but what it gives back means nothing.
 *
 *     struct text rest = TEXT(" 1, [2, 3] , \"a,b\""), item;
 *
 *     while (items_next(&rest, &item))
 *         ...                              1    then [2, 3]    then "a,b"
 *
 * Pure code: no I/O, no allocation.
 */
#ifndef WORKERS_ITEMS_H
#define WORKERS_ITEMS_H

#include "common/blob.h"
#include "common/digits.h"

#include <stdbool.h>

/* The first value of a list of valid JSON values separated by commas, without surrounding
 * white space; *rest moves behind it and its comma. false when the list is empty. */
static inline bool items_next(struct text *rest, struct text *ret_item);

/* The first member of the inside of a JSON object: its name without the quotes, with its
 * escapes as they are, and its value. *rest moves behind it and its comma. false when
 * there is none. */
bool items_next_member(struct text *rest, struct text *ret_name, struct text *ret_value);

/* What is between the brackets of an array, or the braces of an object; white space
 * around these is skipped. Empty when the text is neither. */
struct text items_inside(struct text container);

/* ---- items_next ------------------------------------------------------------------- */

bool items_next_any(struct text *rest, struct text *ret_item);

/* What most long lists are made of is a whole number with its comma right behind it. */
static inline bool items_next(struct text *rest, struct text *ret_item)
{
    const uint8_t *at = (const uint8_t *)rest->at, *end, *stop;

    if (rest->len == 0)
        return false;
    end = at + rest->len;
    stop = digits_end(at + (*at == '-'), end);
    if (stop == at || stop == end || *stop != ',')
        return items_next_any(rest, ret_item);
    *ret_item = (struct text){ rest->at, (size_t)(stop - at) };
    *rest = (struct text){ (const char *)stop + 1, (size_t)(end - stop - 1) };
    return true;
}

#endif
