/* SPDX-License-Identifier: MIT */
/* Settings from a file: one JSON object. */
#include "server/config_private.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_FILE_MAX (1u << 20) /* bytes */

static enum status read_file(struct config_loader *loader, struct buf *ret_text)
{
    FILE *file = fopen(loader->file, "re");
    size_t got = 0;
    int error = 0;

    if (!file)
        return error_set(loader->err, ST_INVALID,
                         "cannot open the configuration file %s: %s", loader->file,
                         strerror(errno));
    do {
        if (!buf_reserve(ret_text, BUFSIZ))
            break;
        got = fread(ret_text->data + ret_text->len, 1, BUFSIZ, file);
        ret_text->len += got;
    } while (got > 0 && ret_text->len <= CONFIG_FILE_MAX);
    if (ferror(file))
        error = errno;
    fclose(file);
    if (ret_text->failed)
        return config_no_memory(loader);
    if (error)
        return error_set(loader->err, ST_INVALID,
                         "cannot read the configuration file %s: %s", loader->file,
                         strerror(error));
    if (ret_text->len > CONFIG_FILE_MAX)
        return error_set(loader->err, ST_INVALID,
                         "the configuration file %s is larger than %u bytes",
                         loader->file, CONFIG_FILE_MAX);
    return ST_OK;
}

/* The line of member `name`, for error texts; 0 if it is spelled with escapes. In a
 * string a quote is escaped, so the quoted name can only be a whole string; a colon makes
 * it a member. */
static size_t member_line(struct text doc, const char *name)
{
    char quoted[SETTING_TEXT_MAX];
    size_t line = 1, len;

    len = (size_t)snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    for (size_t i = 0; i + len < doc.len; i++) {
        line += doc.at[i] == '\n';
        if (memcmp(doc.at + i, quoted, len) == 0) {
            size_t after = i + len;

            while (after < doc.len && strchr(" \t\r\n", doc.at[after]))
                after++;
            if (after < doc.len && doc.at[after] == ':')
                return line;
        }
    }
    return 0;
}

/* NULL when a JSON value is of the type that the setting wants, else the complaint. */
static const char *wrong_type(enum setting_type type, const json_t *value)
{
    switch (type) {
    case SETTING_BOOL:
        return json_is_boolean(value) ? NULL : "is not true or false";
    case SETTING_NUMBER:
        return json_is_integer(value) ? NULL : "is not a whole number";
    case SETTING_SECONDS:
        return json_is_number(value) ? NULL : "is not a number of seconds";
    case SETTING_LIST:
        return json_is_array(value) ? NULL : "is not an array of strings";
    default:
        return json_is_string(value) ? NULL : "is not a string";
    }
}

static int add_bytes(const char *bytes, size_t len, void *out)
{
    buf_add(out, bytes, len);
    return 0;
}

/* An array of strings, joined by commas. */
static enum status assign_array(struct config_loader *loader, size_t i,
                                const json_t *value)
{
    struct buf text = BUF_INIT;
    enum status st = ST_OK;
    json_t *element;
    size_t at;

    json_array_foreach(value, at, element)
    {
        if (!json_is_string(element))
            st = config_refuse(loader, i, "", "is not an array of strings");
        else
            buf_addf(&text, "%s%s", at ? "," : "", json_string_value(element));
    }
    if (st == ST_OK && text.failed)
        st = config_no_memory(loader);
    if (st == ST_OK && text.len)
        st = config_assign(loader, i, text.data);
    buf_clear(&text);
    return st;
}

static enum status assign_member(struct config_loader *loader, size_t i,
                                 const json_t *value)
{
    const char *complaint = wrong_type(settings[i].type, value);
    struct buf text = BUF_INIT;
    enum status st;

    if (settings[i].type == SETTING_LIST && !complaint)
        return assign_array(loader, i, value);
    if (json_is_string(value) && !complaint)
        return config_assign(loader, i, json_string_value(value));
    json_dump_callback(value, add_bytes, &text,
                       JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (text.failed)
        st = config_no_memory(loader);
    else if (complaint)
        st = config_refuse(loader, i, text.data, complaint);
    else
        st = config_assign(loader, i, text.data);
    buf_clear(&text);
    return st;
}

static enum status assign_object(struct config_loader *loader, struct text doc,
                                 json_t *root)
{
    const char *name;
    json_t *value;

    json_object_foreach(root, name, value)
    {
        size_t i = setting_find(name, strlen(name), SPELLING_NAME);
        enum status st;

        if (i == SETTING_COUNT)
            return config_unknown(loader, name, strlen(name), SPELLING_NAME);
        if (i == SETTING_CONFIG)
            return error_set(loader->err, ST_INVALID,
                             "setting config is not for the file %s itself",
                             loader->file);
        loader->origins[i].source = FROM_FILE;
        loader->origins[i].line = member_line(doc, name);
        st = assign_member(loader, i, value);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

enum status config_assign_file(struct config_loader *loader)
{
    struct buf text = BUF_INIT;
    json_t *root = NULL;
    json_error_t error;
    enum status st = read_file(loader, &text);

    if (st != ST_OK)
        goto out;
    root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        st = error_set(loader->err, ST_INVALID, "%s line %d column %d: %s", loader->file,
                       error.line, error.column, error.text);
    else if (!json_is_object(root))
        st = error_set(loader->err, ST_INVALID, "%s: the settings must be a JSON object",
                       loader->file);
    else
        st = assign_object(loader, buf_text(&text), root);
out:
    json_decref(root);
    buf_clear(&text);
    return st;
}
