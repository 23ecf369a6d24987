/* SPDX-License-Identifier: MIT */
#include "server/json_load.h"

#include "common/mem.h"

void json_load_init(void)
{
    json_set_alloc_funcs(mem_alloc, mem_free);
}

json_t *json_load(struct text text, size_t flags, bool *ret_no_memory)
{
    unsigned long before = mem_failures();
    json_t *value = json_loadb(text.at, text.len, flags, NULL);

    *ret_no_memory = mem_failures() != before;
    if (!*ret_no_memory)
        return value;
    json_decref(value);
    return NULL;
}
