/* SPDX-License-Identifier: MIT */
/*
 * setting - the one list of settings: name, type, range, default and meaning of each.
 *
 * config.c turns it into a struct config, config_help into text. To add a setting: a
 * member in struct config, a row in setting.c, and a test at the ends of its range.
 */
#ifndef SERVER_SETTING_H
#define SERVER_SETTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESSES_MAX    1024
#define SETTING_TEXT_MAX 40 /* bytes of a name in any spelling, with its NUL */
#define MS_PER_S         1000

/* What the member in struct config is. */
enum setting_type {
    SETTING_FILE, /* there is none: the configuration file itself, not allowed in it */
    SETTING_TEXT, /* char *, not empty */
    SETTING_LIST, /* char *, texts separated by commas; flags add up, an array in JSON */
    SETTING_ADDRESS, /* char *, and listen_host and listen_port with it */
    SETTING_BOOL,    /* bool */
    SETTING_CHOICE,  /* an enum, by its names */
    SETTING_NUMBER,  /* uint64_t */
    SETTING_SECONDS, /* int64_t, milliseconds */
    SETTING_TYPE_COUNT
};

struct setting {
    const char *name;
    enum setting_type type;
    size_t offset;       /* of the member in struct config */
    const char *initial; /* the default as text; NULL: see initial_help */
    uint64_t min, max;   /* of numbers; of seconds in milliseconds */
    const char *const *choices;
    size_t choice_count;
    const char *(*check)(const char *value); /* of a list: NULL, or what is wrong */
    const char *value;                       /* what stands for the value in the help */
    const char *initial_help; /* what the default is, where no text says it */
    const char *group;        /* heading, at the first setting of a group */
    const char *help;
};

extern const struct setting settings[];
#define SETTING_COUNT        71
#define SETTING_CONFIG       0 /* index of the setting `config` */
#define SETTING_LISTEN       1 /* index of the setting `listen` */
#define SETTING_ADMIN_LISTEN 2

struct config;

/* The value of a setting that is a number, or a time (then in seconds), and has a default: what
 * is shown as the limits of the server. false: it is none of these. */
bool setting_limit(const struct setting *setting, const struct config *config,
                   double *ret_value);

enum spelling { SPELLING_NAME, SPELLING_ENVIRONMENT, SPELLING_FLAG };

/* Setting i in one of the three spellings: max_items, POOLD_MAX_ITEMS, --max-items. */
void setting_spell(size_t i, enum spelling spelling, char ret_text[SETTING_TEXT_MAX]);
/* The setting that is spelled so; SETTING_COUNT: none. */
size_t setting_find(const char *text, size_t len, enum spelling spelling);
/* The setting that was probably meant; SETTING_COUNT: none comes near. */
size_t setting_guess(const char *text, size_t len, enum spelling spelling);

#endif
