/* SPDX-License-Identifier: MIT */
#include "server/config_private.h"

#include "common/mem.h"
#include "server/address.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ORIGIN_MAX 160 /* bytes of its text, with the NUL */

/* Choices are stored as unsigned int, which is what compilers take for such an enum. */
static_assert(sizeof(enum store_kind) == sizeof(unsigned) &&
                  sizeof(enum sandbox_mode) == sizeof(unsigned) &&
                  sizeof(enum log_level) == sizeof(unsigned) &&
                  sizeof(enum log_format) == sizeof(unsigned),
              "enums are as large as unsigned");

/* ---- complaints ---- */

enum status config_no_memory(const struct config_loader *loader)
{
    return error_set(loader->err, ST_NO_MEMORY, "out of memory");
}

enum status config_unknown(const struct config_loader *loader, const char *text,
                           size_t len, enum spelling spelling)
{
    size_t guess = setting_guess(text, len, spelling);
    char name[SETTING_TEXT_MAX], hint[SETTING_TEXT_MAX + 32] = "", where[128] = "";

    if (guess < SETTING_COUNT) {
        setting_spell(guess, spelling, name);
        snprintf(hint, sizeof(hint), " (did you mean %s?)", name);
    }
    if (spelling == SPELLING_NAME)
        snprintf(where, sizeof(where), " in %.100s", loader->file);
    return error_set(loader->err, ST_INVALID, "unknown setting \"%.*s\"%s%s",
                     len < 80 ? (int)len : 80, text, where, hint);
}

/* Where the value of setting i came from, for error texts. */
static const char *origin_text(const struct config_loader *loader, size_t i,
                               char ret_text[ORIGIN_MAX])
{
    const struct config_origin *origin = &loader->origins[i];

    switch (origin->source) {
    case FROM_FLAG:
        setting_spell(i, SPELLING_FLAG, ret_text);
        break;
    case FROM_ENVIRONMENT:
        setting_spell(i, SPELLING_ENVIRONMENT, ret_text);
        break;
    case FROM_FILE:
        if (origin->line)
            snprintf(ret_text, ORIGIN_MAX, "%.120s line %zu", loader->file, origin->line);
        else
            snprintf(ret_text, ORIGIN_MAX, "%.120s", loader->file);
        break;
    case FROM_DEFAULT:
        snprintf(ret_text, ORIGIN_MAX, "the default");
        break;
    }
    return ret_text;
}

enum status config_refuse(const struct config_loader *loader, size_t i, const char *value,
                          const char *reason)
{
    char from[ORIGIN_MAX];

    return error_set(loader->err, ST_INVALID, "setting %s (from %s): \"%.80s\" %s",
                     settings[i].name, origin_text(loader, i, from), value, reason);
}

/* ---- values ---- */

/* Reads digits and moves *text behind them. false: no digit, or too large. */
static bool parse_digits(const char **text, uint64_t *ret_n)
{
    const char *c = *text;
    uint64_t n = 0;

    for (; *c >= '0' && *c <= '9'; c++) {
        unsigned digit = (unsigned)(*c - '0');

        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (c == *text)
        return false;
    *text = c;
    *ret_n = n;
    return true;
}

static bool all_digits(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

static enum status assign_number(struct config_loader *loader, size_t i,
                                 const char *value)
{
    const struct setting *setting = &settings[i];
    const char *rest = value;
    char reason[96];
    uint64_t n;

    if (!all_digits(value))
        return config_refuse(loader, i, value, "is not a whole number");
    if (!parse_digits(&rest, &n) || n < setting->min || n > setting->max) {
        snprintf(reason, sizeof(reason), "is not in %" PRIu64 "..%" PRIu64, setting->min,
                 setting->max);
        return config_refuse(loader, i, value, reason);
    }
    memcpy((char *)&loader->config + setting->offset, &n, sizeof(n));
    return ST_OK;
}

/* "1.5" to 1500. Finer than a millisecond is refused, so that a tiny limit never becomes
 * 0, which may mean "none". */
static bool parse_seconds(const char *value, uint64_t *ret_ms)
{
    uint64_t whole, ms = 0;

    if (!parse_digits(&value, &whole) || whole > UINT64_MAX / MS_PER_S - 1)
        return false;
    if (*value == '.') {
        value++;
        if (!all_digits(value))
            return false;
        for (uint64_t unit = MS_PER_S / 10; *value; value++, unit /= 10) {
            if (unit == 0 && *value != '0')
                return false;
            ms += (uint64_t)(*value - '0') * unit;
        }
    }
    *ret_ms = whole * MS_PER_S + ms;
    return *value == '\0';
}

static enum status assign_seconds(struct config_loader *loader, size_t i,
                                  const char *value)
{
    const struct setting *setting = &settings[i];
    char reason[96];
    uint64_t ms;
    int64_t stored;

    if (!parse_seconds(value, &ms))
        return config_refuse(loader, i, value,
                             "is not a number of seconds such as 1.5 "
                             "(at most 3 decimal places)");
    if (ms < setting->min || ms > setting->max) {
        snprintf(reason, sizeof(reason), "is not in %" PRIu64 "..%" PRIu64 " seconds",
                 setting->min / MS_PER_S, setting->max / MS_PER_S);
        return config_refuse(loader, i, value, reason);
    }
    stored = (int64_t)ms;
    memcpy((char *)&loader->config + setting->offset, &stored, sizeof(stored));
    return ST_OK;
}

static enum status assign_choice(struct config_loader *loader, size_t i,
                                 const char *value)
{
    const struct setting *setting = &settings[i];
    char reason[96];

    for (unsigned choice = 0; choice < setting->choice_count; choice++) {
        if (strcmp(setting->choices[choice], value) == 0) {
            memcpy((char *)&loader->config + setting->offset, &choice, sizeof(choice));
            return ST_OK;
        }
    }
    snprintf(reason, sizeof(reason), "is not one of %s", setting->value);
    return config_refuse(loader, i, value, reason);
}

static enum status assign_bool(struct config_loader *loader, size_t i, const char *value)
{
    bool yes = strcmp(value, "true") == 0;

    if (!yes && strcmp(value, "false") != 0)
        return config_refuse(loader, i, value, "is not one of true|false");
    memcpy((char *)&loader->config + settings[i].offset, &yes, sizeof(yes));
    return ST_OK;
}

static enum status assign_text(struct config_loader *loader, size_t i, const char *value)
{
    char *copy, *old;
    char *member = (char *)&loader->config + settings[i].offset;

    if (!*value)
        return config_refuse(loader, i, value, "is empty");
    copy = mem_strdup(value);
    if (!copy)
        return config_no_memory(loader);
    memcpy(&old, member, sizeof(old));
    mem_free(old);
    memcpy(member, &copy, sizeof(copy));
    return ST_OK;
}

static enum status assign_list(struct config_loader *loader, size_t i, const char *value)
{
    const char *reason = settings[i].check ? settings[i].check(value) : NULL;

    return reason ? config_refuse(loader, i, value, reason)
                  : assign_text(loader, i, value);
}

static enum status assign_address(struct config_loader *loader, size_t i,
                                  const char *value)
{
    struct address address;
    const char *reason = address_parse(value, &address);
    char *host;
    enum status st;

    if (reason)
        return config_refuse(loader, i, value, reason);
    st = assign_text(loader, i, value);
    if (st != ST_OK)
        return st;
    host = mem_strdup(address.host);
    if (!host)
        return config_no_memory(loader);
    if (i == SETTING_LISTEN) {
        mem_free(loader->config.listen_host);
        loader->config.listen_host = host;
        loader->config.listen_port = address.port;
    } else {
        mem_free(loader->config.admin_host);
        loader->config.admin_host = host;
        loader->config.admin_port = address.port;
    }
    return ST_OK;
}

enum status config_assign(struct config_loader *loader, size_t i, const char *value)
{
    static enum status (*const by_type[])(struct config_loader *, size_t,
                                          const char *) = {
        [SETTING_TEXT] = assign_text,       [SETTING_LIST] = assign_list,
        [SETTING_ADDRESS] = assign_address, [SETTING_BOOL] = assign_bool,
        [SETTING_CHOICE] = assign_choice,   [SETTING_NUMBER] = assign_number,
        [SETTING_SECONDS] = assign_seconds,
    };

    assert(i != SETTING_CONFIG);
    return by_type[settings[i].type](loader, i, value);
}
