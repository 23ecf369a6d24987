/* SPDX-License-Identifier: MIT */
/*
 * config_private - what the parts of config share. For config*.c only.
 *
 *     config.c         the sources one over the other; environment and flags; the checks
 *     config_file.c    the configuration file
 *     config_value.c   values, and complaints about them
 *
 * Every value, wherever it comes from, becomes text and passes through config_assign, so
 * that the three spellings of a setting cannot differ in what they accept.
 */
#ifndef SERVER_CONFIG_PRIVATE_H
#define SERVER_CONFIG_PRIVATE_H

#include "common/buf.h"
#include "server/config.h"
#include "server/setting.h"

enum config_source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };

/* Where a value has come from. */
struct config_origin {
    enum config_source source;
    size_t line; /* in the file; 0: not known */
};

struct config_loader {
    struct config config;
    const char *file;                       /* path of the configuration file, or NULL */
    const char *environment[SETTING_COUNT]; /* values as given, or NULL */
    const char *flags[SETTING_COUNT];
    struct buf lists[SETTING_COUNT]; /* what flags of lists add up to */
    struct config_origin origins[SETTING_COUNT];
    struct error_text *err;
};

/* Each of these sets the loader's error. */
enum status config_no_memory(const struct config_loader *loader);
/* A name that no setting has; one that is like it is guessed. */
enum status config_unknown(const struct config_loader *loader, const char *text,
                           size_t len, enum spelling spelling);
/* A value that setting i cannot have; `reason` follows the value in the text. */
enum status config_refuse(const struct config_loader *loader, size_t i, const char *value,
                          const char *reason);

/* Makes the text `value` the value of setting i; origins[i] says where it is from. */
NODISCARD enum status config_assign(struct config_loader *loader, size_t i,
                                    const char *value);
/* Assigns what is in the loader's file. */
NODISCARD enum status config_assign_file(struct config_loader *loader);

#endif
