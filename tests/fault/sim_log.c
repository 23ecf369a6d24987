/* SPDX-License-Identifier: MIT */
#include "tests/fault/sim_log.h"

#include "tests/fault/sim_disk.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILES 4096
#define MAX_NAMES 64

struct bytes {
    uint8_t *at;
    size_t len, cap;
};

struct names {
    struct {
        char *name;
        unsigned file;
    } of[MAX_NAMES];
    size_t count;
};

static struct {
    struct sim_entry *entries;
    size_t len, cap;
    struct bytes first[MAX_FILES]; /* what the files held at the beginning */
    unsigned files;
    struct names first_names, names; /* at the beginning, and now */
} sim;

static void *must(void *block)
{
    assert(block);
    return block;
}

/* ---- bytes ------------------------------------------------------------------------ */

static void bytes_resize(struct bytes *bytes, size_t len)
{
    if (len > bytes->cap) {
        bytes->cap = 2 * len;
        bytes->at = must(realloc(bytes->at, bytes->cap));
    }
    if (len > bytes->len)
        memset(bytes->at + bytes->len, 0, len - bytes->len);
    bytes->len = len;
}

static void bytes_write(struct bytes *bytes, size_t at, const void *from, size_t len)
{
    if (at + len > bytes->len)
        bytes_resize(bytes, at + len);
    if (len)
        memcpy(bytes->at + at, from, len);
}

static void bytes_load(struct bytes *bytes, const char *path)
{
    FILE *file = must(fopen(path, "rb"));
    long len;

    assert(fseek(file, 0, SEEK_END) == 0);
    len = ftell(file);
    assert(len >= 0 && fseek(file, 0, SEEK_SET) == 0);
    bytes_resize(bytes, (size_t)len);
    assert(!len || fread(bytes->at, 1, bytes->len, file) == bytes->len);
    (void)fclose(file);
}

static void bytes_save(const struct bytes *bytes, const char *path)
{
    FILE *file = must(fopen(path, "wb"));

    assert(!bytes->len || fwrite(bytes->at, 1, bytes->len, file) == bytes->len);
    assert(fclose(file) == 0);
}

/* ---- names ------------------------------------------------------------------------ */

static size_t names_find(const struct names *names, const char *name)
{
    size_t i = 0;

    while (i < names->count && strcmp(names->of[i].name, name) != 0)
        i++;
    return i;
}

static void names_set(struct names *names, const char *name, unsigned file)
{
    size_t i = names_find(names, name);

    assert(i < MAX_NAMES);
    if (i == names->count)
        names->of[names->count++].name = must(strdup(name));
    names->of[i].file = file;
}

static void names_drop(struct names *names, const char *name)
{
    size_t i = names_find(names, name);

    if (i == names->count)
        return;
    free(names->of[i].name);
    names->of[i] = names->of[--names->count];
}

static void names_clear(struct names *names)
{
    while (names->count)
        free(names->of[--names->count].name);
}

static void names_copy(struct names *to, const struct names *from)
{
    for (size_t i = 0; i < from->count; i++)
        names_set(to, from->of[i].name, from->of[i].file);
}

static void names_apply(struct names *names, const struct sim_entry *entry)
{
    switch (entry->op) {
    case SIM_CREATE:
        if (names_find(names, entry->name) == names->count)
            names_set(names, entry->name, entry->file);
        break;
    case SIM_RENAME:
        names_drop(names, entry->name);
        names_set(names, entry->to, entry->file);
        break;
    case SIM_REMOVE:
        names_drop(names, entry->name);
        break;
    default:
        break;
    }
}

/* ---- the log ---------------------------------------------------------------------- */

static void log_clear(void)
{
    for (size_t i = 0; i < sim.len; i++) {
        free((void *)(uintptr_t)sim.entries[i].name);
        free((void *)(uintptr_t)sim.entries[i].to);
        free((void *)(uintptr_t)sim.entries[i].bytes);
    }
    for (unsigned i = 0; i < sim.files; i++)
        free(sim.first[i].at);
    free(sim.entries);
    names_clear(&sim.first_names);
    names_clear(&sim.names);
    memset(&sim, 0, sizeof(sim));
}

void sim_log_begin(const char *dir)
{
    DIR *open = must(opendir(dir));
    struct dirent *there;
    char path[512];

    log_clear();
    while ((there = readdir(open))) {
        if (there->d_name[0] == '.' || strstr(there->d_name, "-shm") ||
            strstr(there->d_name, ".lock"))
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, there->d_name);
        bytes_load(&sim.first[sim.files], path);
        names_set(&sim.first_names, there->d_name, sim.files++);
    }
    (void)closedir(open);
    names_copy(&sim.names, &sim.first_names);
}

static unsigned file_of(const struct sim_entry *entry)
{
    size_t i = entry->name ? names_find(&sim.names, entry->name) : sim.names.count;

    if (i < sim.names.count)
        return sim.names.of[i].file;
    if (entry->op != SIM_CREATE)
        return MAX_FILES; /* of the directory, or of a name that is gone */
    assert(sim.files < MAX_FILES);
    return sim.files++;
}

void sim_log_add(const struct sim_entry *entry)
{
    struct sim_entry *added;

    if (sim.len == sim.cap) {
        sim.cap = sim.cap ? 2 * sim.cap : 1024;
        sim.entries = must(realloc(sim.entries, sim.cap * sizeof(*sim.entries)));
    }
    added = &sim.entries[sim.len++];
    *added = *entry;
    added->file = file_of(entry);
    added->name = entry->name ? must(strdup(entry->name)) : NULL;
    added->to = entry->to ? must(strdup(entry->to)) : NULL;
    added->bytes = NULL;
    if (entry->len)
        added->bytes = memcpy(must(malloc(entry->len)), entry->bytes, entry->len);
    names_apply(&sim.names, added);
}

size_t sim_log_len(void)
{
    return sim.len;
}

enum sim_op sim_log_op(size_t entry)
{
    return sim.entries[entry].op;
}

/* ---- what a power cut leaves ------------------------------------------------------- */

enum fate { FATE_NOTHING, FATE_ALL, FATE_PREFIX, FATE_SUBSET };

/* Of what was not synced. */
struct cutter {
    uint64_t random;
    enum fate fate;
    size_t limit; /* FATE_PREFIX: entries before this one are on the disk */
};

static struct cutter cutter_of(size_t from, size_t cut, uint64_t seed)
{
    struct cutter cutter = { .random = seed * 1000003 + cut };

    cutter.fate = seed < 2 ? (enum fate)seed : seed % 3 == 0 ? FATE_PREFIX : FATE_SUBSET;
    cutter.limit = from + sim_random(&cutter.random) % (cut - from + 1);
    return cutter;
}

static bool survives(struct cutter *cutter, size_t entry)
{
    switch (cutter->fate) {
    case FATE_NOTHING:
        return false;
    case FATE_ALL:
        return true;
    case FATE_PREFIX:
        return entry < cutter->limit;
    default:
        return sim_random(&cutter->random) % 2;
    }
}

/* A write that was under way: of each sector the old bytes, the new ones, or neither. */
static void write_torn(struct cutter *cutter, struct bytes *file,
                       const struct sim_entry *entry)
{
    size_t done = 0;

    while (done < entry->len) {
        size_t at = entry->at + done;
        size_t len = DISK_SECTOR - at % DISK_SECTOR;
        uint64_t dice = sim_random(&cutter->random) % 16;
        uint8_t garbage[DISK_SECTOR];

        if (len > entry->len - done)
            len = entry->len - done;
        for (size_t i = 0; i < len; i++)
            garbage[i] = (uint8_t)sim_random(&cutter->random);
        if (dice == 0)
            bytes_write(file, at, garbage, len);
        else if (dice < 8)
            bytes_write(file, at, (const uint8_t *)entry->bytes + done, len);
        done += len;
    }
}

static void change(struct cutter *cutter, struct bytes *file,
                   const struct sim_entry *entry, bool torn)
{
    if (entry->op == SIM_TRUNCATE)
        bytes_resize(file, entry->at);
    else if (torn)
        write_torn(cutter, file, entry);
    else
        bytes_write(file, entry->at, entry->bytes, entry->len);
}

/* The file as it is on the disk; the caller frees its bytes. */
static struct bytes file_after(size_t cut, uint64_t seed, unsigned file)
{
    struct bytes bytes = { 0 };
    struct cutter cutter;
    size_t synced = 0;

    if (sim.first[file].len)
        bytes_write(&bytes, 0, sim.first[file].at, sim.first[file].len);
    for (size_t i = 0; i < cut; i++)
        if (sim.entries[i].file == file && sim.entries[i].op == SIM_SYNC)
            synced = i + 1;
    cutter = cutter_of(synced, cut, seed);
    for (size_t i = 0; i < cut; i++) {
        const struct sim_entry *entry = &sim.entries[i];
        bool torn;

        if (entry->file != file || entry->op > SIM_TRUNCATE)
            continue;
        torn = i >= synced && cutter.fate >= FATE_PREFIX &&
               (i + 1 == cutter.limit || sim_random(&cutter.random) % 4 == 0);
        if (i < synced || survives(&cutter, i))
            change(&cutter, &bytes, entry, torn);
    }
    return bytes;
}

/* Changes of names are written in their order, as a journal of the file system does. */
static void names_after(size_t cut, uint64_t seed, struct names *ret_names)
{
    struct cutter cutter;
    size_t synced = 0;

    names_copy(ret_names, &sim.first_names);
    for (size_t i = 0; i < cut; i++)
        if (sim.entries[i].op == SIM_SYNCDIR)
            synced = i + 1;
    cutter = cutter_of(synced, cut, seed);
    if (cutter.fate == FATE_NOTHING)
        cutter.limit = synced;
    if (cutter.fate == FATE_ALL)
        cutter.limit = cut;
    for (size_t i = 0; i < cutter.limit; i++)
        names_apply(ret_names, &sim.entries[i]);
}

static void add_nonsense(uint64_t seed, const char *dir)
{
    struct bytes shm = { 0 };
    char path[512];

    bytes_resize(&shm, 32768);
    for (size_t i = 0; i < shm.len; i++)
        shm.at[i] = (uint8_t)sim_random(&seed);
    (void)snprintf(path, sizeof(path), "%s/poold.db-shm", dir);
    bytes_save(&shm, path);
    free(shm.at);
}

void sim_log_image(size_t cut, uint64_t seed, const char *dir)
{
    struct names names = { 0 };
    char path[512];

    names_after(cut, seed, &names);
    for (size_t i = 0; i < names.count; i++) {
        struct bytes bytes = file_after(cut, seed, names.of[i].file);

        (void)snprintf(path, sizeof(path), "%s/%s", dir, names.of[i].name);
        bytes_save(&bytes, path);
        free(bytes.at);
    }
    names_clear(&names);
    if (seed % 2)
        add_nonsense(seed, dir);
}
