/* SPDX-License-Identifier: MIT */
#include "server/maintain.h"

#include "server/exit_code.h"
#include "server/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA_DEFAULT "./data"

#define CHECK_USAGE  "check [--data DIR]"
#define BACKUP_USAGE "backup FILE [--data DIR]"

/* Reads "--data DIR", "--data=DIR" and, if wanted, one other argument. */
static bool read_arguments(int argc, char **argv, const char **ret_data,
                           const char **ret_file)
{
    *ret_data = getenv("POOLD_DATA") ? getenv("POOLD_DATA") : DATA_DEFAULT;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--data") == 0 && i + 1 < argc)
            *ret_data = argv[++i];
        else if (strncmp(argv[i], "--data=", 7) == 0)
            *ret_data = argv[i] + 7;
        else if (argv[i][0] != '-' && argv[i][0] && ret_file && !*ret_file)
            *ret_file = argv[i];
        else
            return false;
    }
    return (*ret_data)[0] && (!ret_file || *ret_file);
}

static bool asks_for_help(int argc, char **argv)
{
    return argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
}

static int help(const char *usage, const char *text)
{
    (void)printf("usage: poold %s\n\n%s\nDIR is that of `poold serve`: "
                 "$POOLD_DATA, or " DATA_DEFAULT ".\n",
                 usage, text);
    return fflush(stdout) == 0 ? 0 : EXIT_CANNOT_WRITE;
}

static int misused(const char *usage)
{
    (void)fprintf(stderr, "usage: poold %s\n", usage);
    return EXIT_CONFIGURATION;
}

static int fail(enum status st, const struct error_text *err)
{
    (void)fprintf(stderr, "poold: %s\n", err->text);
    return exit_code_of_store(st);
}

/* One line, whatever is in it: some of it may come from a damaged file. */
static void on_finding(void *data, const char *text)
{
    (void)data;
    for (const char *c = text; *c; c++)
        (void)putchar((unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c);
    (void)putchar('\n');
}

int check_main(int argc, char **argv)
{
    struct error_text err = { "" };
    struct store_check check;
    const char *data;
    enum status st;

    if (asks_for_help(argc, argv))
        return help(CHECK_USAGE,
                    "Looks at a database that no server uses, and changes nothing. Exit "
                    "code 0: it is sound.\n65: what is wrong is printed, a line each. "
                    "66: there is none. 75: a server has it.");
    if (!read_arguments(argc, argv, &data, NULL))
        return misused(CHECK_USAGE);
    st = store_check_sqlite(data, on_finding, NULL, &check, &err);
    if (st != ST_OK) {
        int exit_code = fail(st, &err);

        if (st == ST_BUSY)
            (void)fprintf(stderr, "poold: stop the server first, or check a copy that "
                                  "`poold backup` makes\n");
        return exit_code;
    }
    if (check.findings) {
        (void)printf("%" PRIu64 " found\n", check.findings);
        return EXIT_DATA;
    }
    if (check.older)
        (void)printf(
            "sound, of schema version %d: a start upgrades it, and rows are checked "
            "after that\n",
            check.schema_version);
    else
        (void)printf("sound: schema version %d, %" PRIu64 " jobs\n", check.schema_version,
                     check.jobs);
    return fflush(stdout) == 0 ? 0 : EXIT_CANNOT_WRITE;
}

int backup_main(int argc, char **argv)
{
    struct error_text err = { "" };
    const char *data, *file = NULL;
    uint64_t bytes;
    enum status st;

    if (asks_for_help(argc, argv))
        return help(
            BACKUP_USAGE,
            "Copies the database into a new file, also while a server uses it; the "
            "copy is checked and\nsynced. Exit code 0: it is there. 73: FILE is "
            "there already, or cannot be written.");
    if (!read_arguments(argc, argv, &data, &file))
        return misused(BACKUP_USAGE);
    st = store_copy_sqlite(data, file, NULL, &bytes, &err);
    if (st != ST_OK)
        return fail(st, &err);
    (void)printf("%s: %" PRIu64 " bytes\n", file, bytes);
    return 0;
}
