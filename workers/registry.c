/* SPDX-License-Identifier: MIT */
#include "workers/registry.h"

#include "workers/tasks/tasks.h"

#include <string.h>

/* Sorted, as the list is. */
static const struct task *const tasks[] = {
#define X(name) &task_##name,
    BUILTIN_TASKS(X)
#undef X
};

size_t registry_count(void)
{
    return sizeof(tasks) / sizeof(tasks[0]);
}

const struct task *registry_at(size_t i)
{
    return i < registry_count() ? tasks[i] : NULL;
}

static int compare(struct text text, const char *name)
{
    size_t len = strlen(name);
    int order = memcmp(text.at, name, text.len < len ? text.len : len);

    return order != 0 ? order : (text.len > len) - (text.len < len);
}

const struct task *registry_find(struct text name)
{
    size_t low = 0, high = registry_count();

    if (name.len == 0)
        return NULL;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(name, tasks[middle]->name);

        if (order == 0)
            return tasks[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
