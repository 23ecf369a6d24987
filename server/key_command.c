/* SPDX-License-Identifier: MIT */
#include "server/key_command.h"

#include "common/clock.h"
#include "server/exit_code.h"
#include "server/key_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_FAILED 1
#define YEARS_MAX   100
#define MS_PER_DAY  86400000

static const char usage[] =
    "Usage: poold key new --name NAME --scopes SCOPES [--tasks PATTERN]... [--expires "
    "TIME]\n"
    "                     [--rate N] [--max-queued N] [--max-queued-bytes N] [--data "
    "DIR]\n"
    "       poold key list [--json] [--data DIR]\n"
    "       poold key rotate KEY [--keep-old TIME] [--data DIR]\n"
    "       poold key revoke KEY [--data DIR]\n"
    "\n"
    "`new` and `rotate` print the key, alone and only this once: keep it. A server that "
    "runs\n"
    "knows of every change within a second. KEY is the id or the name of a key.\n"
    "\n"
    "  --name NAME           for people: 1 to 64 of A-Z a-z 0-9 _ . : - @\n"
    "  --scopes SCOPES       of submit, read, cancel, admin; separated by commas\n"
    "  --tasks PATTERN       task that it may run, * is any text; repeatable [any]\n"
    "  --expires TIME        until it holds no more: 90d, 12h, 30m, 60s [never]\n"
    "  --rate N              requests in a second [any number]\n"
    "  --max-queued N        of its jobs that are not over [any number]\n"
    "  --max-queued-bytes N  of their inputs [any number]\n"
    "  --keep-old TIME       how long the secret of before still works [not at all]\n"
    "  --data DIR            the server's data folder [$POOLD_DATA, or ./data]\n";

struct arguments {
    const char *dir;
    const char *which; /* key */
    struct key key;    /* that is to be made */
    int64_t expires_ms, keep_old_ms;
    bool json;
};

static int wrong(const char *what, const char *why)
{
    (void)fprintf(stderr, "poold key: %.80s%s\n\n%s", what, why, usage);
    return EXIT_CONFIGURATION;
}

/* ---- arguments --------------------------------------------------------------------- */

static bool read_number(const char *text, uint64_t *ret_number)
{
    char *end;

    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && !*end && !errno &&
           *ret_number <= INT64_MAX;
}

/* "90d"; without a unit seconds. */
static bool read_time(const char *text, int64_t *ret_ms)
{
    static const char units[] = "smhd";
    static const int64_t unit_ms[] = { 1000, 60000, 3600000, MS_PER_DAY };
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] ? strchr(units, text[digits]) : units;
    int64_t each, count = 0;

    if (!digits || digits > 12 || !unit || (text[digits] && text[digits + 1]))
        return false;
    each = unit_ms[unit - units];
    for (size_t i = 0; i < digits; i++)
        count = count * 10 + (text[i] - '0');
    *ret_ms = count * each;
    return count > 0 && count <= YEARS_MAX * 365ll * MS_PER_DAY / each;
}

static bool add_task(struct key *key, const char *pattern)
{
    if (key_task_check(pattern) || key->task_count == KEY_TASKS_MAX)
        return false;
    (void)strcpy(key->tasks[key->task_count++], pattern);
    return true;
}

static bool read_name(struct key *key, const char *name)
{
    if (key_name_check(name))
        return false;
    (void)strcpy(key->name, name);
    return true;
}

/* Only for `command`; with it all that are for it. */
static bool read_flag(const char *command, const char *flag, const char *value,
                      struct arguments *arguments)
{
    bool is_new = strcmp(command, "new") == 0;
    struct key *key = &arguments->key;

    if (strcmp(flag, "--data") == 0)
        return (arguments->dir = value)[0];
    if (strcmp(flag, "--keep-old") == 0 && strcmp(command, "rotate") == 0)
        return read_time(value, &arguments->keep_old_ms);
    if (!is_new)
        return false;
    if (strcmp(flag, "--name") == 0)
        return read_name(key, value);
    if (strcmp(flag, "--scopes") == 0)
        return (key->scopes = key_scopes_parse(value)) != 0;
    if (strcmp(flag, "--tasks") == 0)
        return add_task(key, value);
    if (strcmp(flag, "--expires") == 0)
        return read_time(value, &arguments->expires_ms);
    if (strcmp(flag, "--rate") == 0)
        return read_number(value, &key->rate);
    if (strcmp(flag, "--max-queued") == 0)
        return read_number(value, &key->max_queued);
    if (strcmp(flag, "--max-queued-bytes") == 0)
        return read_number(value, &key->max_queued_bytes);
    return false;
}

/* 0, or the exit code when they are wrong. */
static int read_arguments(const char *command, int argc, char **argv,
                          struct arguments *arguments)
{
    bool takes_key = strcmp(command, "rotate") == 0 || strcmp(command, "revoke") == 0;

    for (int i = 0; i < argc; i++) {
        char flag[32];
        const char *equals = strchr(argv[i], '=');
        size_t len = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;

        if (takes_key && !arguments->which && argv[i][0] != '-') {
            arguments->which = argv[i];
            continue;
        }
        if (strcmp(command, "list") == 0 && strcmp(argv[i], "--json") == 0) {
            arguments->json = true;
            continue;
        }
        (void)snprintf(flag, sizeof(flag), "%.*s", (int)len, argv[i]);
        if (!value || !read_flag(command, flag, value, arguments))
            return wrong(argv[i], ": is not for this, or has a wrong value");
        i += !equals;
    }
    if (takes_key && !arguments->which)
        return wrong(command, ": which key?");
    return 0;
}

/* ---- commands ---------------------------------------------------------------------- */

static int failed(const struct error_text *err)
{
    (void)fprintf(stderr, "poold key: %s\n", err->text);
    return EXIT_FAILED;
}

/* The key, and nothing else, on standard output. */
static int print_key(enum status st, char text[KEY_TEXT_LEN + 1], const struct key *key,
                     const struct error_text *err)
{
    char id[KEY_ID_LEN + 1];
    int exit_code = 0;

    if (st != ST_OK) {
        explicit_bzero(text, KEY_TEXT_LEN + 1);
        return failed(err);
    }
    key_id_format(key->id, id);
    if (printf("%s\n", text) < 0 || fflush(stdout) != 0) {
        (void)fprintf(stderr, "poold key: the key could not be printed; rotate it: %s\n",
                      id);
        exit_code = EXIT_FAILED;
    }
    explicit_bzero(text, KEY_TEXT_LEN + 1);
    (void)fprintf(stderr, "key %s, id %s: it is not shown again\n", key->name, id);
    return exit_code;
}

static int make(struct arguments *arguments)
{
    struct key *key = &arguments->key;
    char text[KEY_TEXT_LEN + 1];
    struct error_text err = { "" };
    enum status st;

    if (!key->name[0] || !key->scopes)
        return wrong("new", ": needs --name and --scopes");
    key->created_at_ms = clock_wall_ms();
    if (arguments->expires_ms)
        key->expires_at_ms = key->created_at_ms + arguments->expires_ms;
    st = key_file_add(arguments->dir, true, key, text, &err);
    return print_key(st, text, key, &err);
}

static int rotate(struct arguments *arguments)
{
    char text[KEY_TEXT_LEN + 1];
    struct error_text err = { "" };
    int64_t until_ms =
        arguments->keep_old_ms ? clock_wall_ms() + arguments->keep_old_ms : 0;
    enum status st = key_file_rotate(arguments->dir, true, arguments->which, until_ms,
                                     &arguments->key, text, &err);

    return print_key(st, text, &arguments->key, &err);
}

static int take_away(struct arguments *arguments)
{
    struct error_text err = { "" };

    if (key_file_revoke(arguments->dir, true, arguments->which, &arguments->key, &err) !=
        ST_OK)
        return failed(&err);
    (void)fprintf(stderr, "key %s, id %016" PRIx64 ", holds no more\n",
                  arguments->key.name, arguments->key.id);
    return 0;
}

static void print_row(const struct key *key)
{
    char expires[CLOCK_TEXT_LEN + 1] = "never", scopes[64] = "";
    size_t len = 0;

    for (unsigned i = 0; i < SCOPE_COUNT; i++)
        if (key->scopes & (1u << i))
            len += (size_t)snprintf(scopes + len, sizeof(scopes) - len, "%s%s",
                                    len ? "," : "", scope_names[i]);
    if (key->expires_at_ms)
        clock_format(key->expires_at_ms, expires);
    (void)printf("%016" PRIx64 "  %-20s  %-26s  %-24s ", key->id, key->name, scopes,
                 expires);
    for (unsigned i = 0; i < key->task_count; i++)
        (void)printf(" %s", key->tasks[i]);
    (void)printf("%s\n", key->task_count ? "" : " *");
}

static int list(struct arguments *arguments)
{
    struct error_text err = { "" };
    struct key_list keys;
    struct buf out = BUF_INIT;
    enum status st = key_file_read(arguments->dir, &keys, &err);

    if (st != ST_OK && st != ST_NOT_FOUND)
        return failed(&err);
    if (!arguments->json)
        (void)printf("%-16s  %-20s  %-26s  %-24s  TASKS\n", "ID", "NAME", "SCOPES",
                     "EXPIRES");
    for (size_t i = 0; i < keys.count; i++) {
        if (!arguments->json) {
            print_row(&keys.keys[i]);
            continue;
        }
        key_write(&out, &keys.keys[i]);
        buf_add_char(&out, '\n');
    }
    if (out.len > 0)
        (void)fwrite(out.data, 1, out.len, stdout);
    buf_clear(&out);
    key_list_clear(&keys);
    return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
}

int key_main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct arguments *arguments);
    } commands[] = {
        { "new", make }, { "list", list }, { "rotate", rotate }, { "revoke", take_away }
    };
    const char *command = argc ? argv[0] : "", *dir = getenv("POOLD_DATA");
    struct arguments arguments = { .dir = dir && dir[0] ? dir : "./data" };
    int exit_code;

    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
        return fputs(usage, stdout) < 0;
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        if (strcmp(command, commands[i].name) != 0)
            continue;
        exit_code = read_arguments(command, argc - 1, argv + 1, &arguments);
        return exit_code ? exit_code : commands[i].run(&arguments);
    }
    return wrong(command, command[0] ? ": is no command here" : "no command");
}
