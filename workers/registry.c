/* SPDX-License-Identifier: MIT */
#include "workers/registry.h"

#include "common/mem.h"
#include "workers/tasks/tasks.h"

#include <stdlib.h>
#include <string.h>

#define BUILTIN_COUNT (sizeof(builtin) / sizeof(builtin[0]))

/* Sorted, as the list is. */
static const struct task *const builtin[] = {
#define X(name) &task_##name,
    BUILTIN_TASKS(X)
#undef X
};

static struct {
    const struct task **all; /* owned; NULL: the built-in ones alone */
    size_t count;
} loaded;

size_t registry_count(void)
{
    return loaded.all ? loaded.count : BUILTIN_COUNT;
}

static const struct task *const *tasks(void)
{
    return loaded.all ? loaded.all : builtin;
}

const struct task *registry_at(size_t i)
{
    return i < registry_count() ? tasks()[i] : NULL;
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
        int order = compare(name, tasks()[middle]->name);

        if (order == 0)
            return tasks()[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* By name; of two with one name the one that came first is first. */
struct candidate {
    const struct task *task;
    size_t place;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;
    int order = strcmp(left->task->name, right->task->name);

    return order != 0 ? order
                      : (left->place > right->place) - (left->place < right->place);
}

static size_t gather(const struct catalog *catalog, struct candidate *candidates)
{
    size_t count = 0;

    for (size_t i = 0; i < BUILTIN_COUNT; i++, count++)
        candidates[count] = (struct candidate){ builtin[i], count };
    for (size_t i = 0; i < catalog->file_count; i++) {
        const struct catalog_file *file = &catalog->files[i];

        for (size_t k = 0; k < file->task_count; k++, count++)
            candidates[count] = (struct candidate){ &file->tasks[k], count };
    }
    return count;
}

static size_t count_all(const struct catalog *catalog)
{
    size_t count = BUILTIN_COUNT;

    for (size_t i = 0; i < catalog->file_count; i++)
        count += catalog->files[i].task_count;
    return count;
}

void registry_reset(void)
{
    mem_free(loaded.all);
    loaded.all = NULL;
}

enum status registry_use(const struct catalog *catalog)
{
    struct candidate *candidates;
    const struct task **all;
    size_t count, kept = 0;

    count = count_all(catalog);
    candidates = mem_zalloc(count * sizeof(*candidates));
    all = mem_zalloc(count * sizeof(struct task *));
    if (!candidates || !all) {
        mem_free(candidates);
        mem_free(all);
        return ST_NO_MEMORY;
    }
    count = gather(catalog, candidates);
    qsort(candidates, count, sizeof(*candidates), compare_candidates);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || strcmp(all[kept - 1]->name, candidates[i].task->name) != 0)
            all[kept++] = candidates[i].task;
    }
    mem_free(candidates);
    mem_free(loaded.all);
    loaded.all = all;
    loaded.count = kept;
    return ST_OK;
}
