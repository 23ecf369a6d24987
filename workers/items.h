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

#include <stdbool.h>

/* The first value of a list of valid JSON values separated by commas, without surrounding
 * white space; *rest moves behind it and its comma. false when the list is empty. */
bool items_next(struct text *rest, struct text *ret_item);

/* The first member of the inside of a JSON object: its name without the quotes, with its
 * escapes as they are, and its value. *rest moves behind it and its comma. false when
 * there is none. */
bool items_next_member(struct text *rest, struct text *ret_name, struct text *ret_value);

/* What is between the brackets of an array, or the braces of an object; white space
 * around these is skipped. Empty when the text is neither. */
struct text items_inside(struct text container);

#endif
