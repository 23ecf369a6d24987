/* SPDX-License-Identifier: MIT */
#include "server/secret_file.h"

#include "common/fd.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX 256 /* bytes */

static enum status parse(const char *path, char *text, size_t len,
                         struct webhook_secret *ret_secret, struct error_text *err)
{
    while (len && strchr(" \t\r\n", text[len - 1]))
        len--;
    if (webhook_secret_parse((struct text){ text, len }, ret_secret))
        return ST_OK;
    return error_set(err, ST_INVALID,
                     "%s: is not whsec_ and the base64 of %d to %d bytes, in one line",
                     path, WEBHOOK_SECRET_MIN, WEBHOOK_SECRET_MAX);
}

enum status secret_file_read(const char *path, struct webhook_secret *ret_secret,
                             struct error_text *err)
{
    char text[FILE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));
    enum status st;

    if (len < 0)
        st = error_set(err, ST_INVALID, "%s: %s", path, strerror(errno));
    else
        st = parse(path, text, (size_t)len, ret_secret, err);
    explicit_bzero(text, sizeof(text));
    fd_close(&fd);
    return st;
}

/* Complete or not there at all: written beside, and then renamed. */
static enum status write_new(const char *path, const char *draft, struct text text,
                             struct error_text *err)
{
    enum status st = ST_OK;
    int fd;

    (void)unlink(draft);
    fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text.at, text.len) != (ssize_t)text.len || fsync(fd) != 0 ||
        rename(draft, path) != 0)
        st = error_set(err, ST_IO, "%s: %s", path, strerror(errno));
    fd_close(&fd);
    return st;
}

enum status secret_file_make(const char *dir, struct webhook_secret *ret_secret,
                             struct error_text *err)
{
    char path[PATH_MAX], draft[PATH_MAX + 4];
    struct buf text = BUF_INIT;
    enum status st = ST_OK;

    if ((size_t)snprintf(path, sizeof(path), "%s/" SECRET_FILE_NAME, dir) >= sizeof(path))
        return error_set(err, ST_INVALID, "%.80s...: the path is too long", dir);
    (void)snprintf(draft, sizeof(draft), "%s.new", path);
    if (access(path, F_OK) != 0) {
        st = webhook_secret_make(&text);
        buf_add_char(&text, '\n');
        if (st != ST_OK || text.failed)
            st = error_set(err, ST_NO_MEMORY, "%s: no secret could be made", path);
        else
            st = write_new(path, draft, buf_text(&text), err);
        if (st == ST_OK)
            log_info("made the secret that callbacks are signed with", "file=%s", path);
        if (text.data)
            explicit_bzero(text.data, text.len);
        buf_clear(&text);
    }
    return st == ST_OK ? secret_file_read(path, ret_secret, err) : st;
}
