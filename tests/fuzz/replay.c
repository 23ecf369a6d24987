/* SPDX-License-Identifier: MIT */
/*
 * replay - runs a fuzz target over every file of the directories that are its arguments.
 *
 * So a corpus is a plain test, for each compiler and without libFuzzer. Fails when there
 * was nothing to run: a corpus that got lost must not look like one that passed.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The content in a block of exactly its size, for the sanitizer to see the end of it. */
static uint8_t *read_input(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    struct stat status;

    if (!file || fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode))
        goto out;
    *ret_size = (size_t)status.st_size;
    data = malloc(*ret_size ? *ret_size : 1);
    if (data && fread(data, 1, *ret_size, file) != *ret_size) {
        free(data);
        data = NULL;
    }
out:
    if (file)
        fclose(file);
    return data;
}

static bool replay_file(const char *directory, const char *name)
{
    char path[PATH_MAX];
    uint8_t *data;
    size_t size;

    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
        return false;
    data = read_input(path, &size);
    if (!data) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return false;
    }
    /* Told before it runs, since a target that fails does not come back. */
    printf("%s (%zu bytes)\n", path, size);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return true;
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* How many inputs ran; -1 after an error. */
static int replay_directory(const char *directory)
{
    struct dirent **entries;
    int count = scandir(directory, &entries, is_input, alphasort);
    bool failed = false;

    if (count < 0) {
        fprintf(stderr, "%s: %s\n", directory, strerror(errno));
        return -1;
    }
    for (int i = 0; i < count; i++) {
        failed |= !replay_file(directory, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return failed ? -1 : count;
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int count = replay_directory(argv[i]);

        if (count < 0)
            return EXIT_FAILURE;
        total += count;
    }
    printf("%d inputs replayed\n", total);
    return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
