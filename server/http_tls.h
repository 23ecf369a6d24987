/* SPDX-License-Identifier: MIT */
/*
 * http_tls - the certificate of the server, and TLS where libmicrohttpd does not do it
 * itself (http_duplex.c). With GnuTLS.
 *
 * One certificate for the process: the library's callback, which is asked at each
 * handshake, has no argument of its own. So a new one holds for every new connection, and
 * those that are open go on with the old one. Loop's thread only.
 */
#ifndef SERVER_HTTP_TLS_H
#define SERVER_HTTP_TLS_H

#include "common/status.h"

#include <gnutls/abstract.h>
#include <stddef.h>
#include <sys/types.h>

/* TLS 1.2 and 1.3. */
#define HTTP_TLS_PRIORITIES                                                              \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"

/* Reads both files, in PEM: the certificate, behind it those of its chain; and its key. From
 * here on they are used. On failure what was used before still is: ST_IO, ST_INVALID (it is
 * not one, they do not belong together, it is over), ST_NO_MEMORY, with err. */
NODISCARD enum status http_tls_load(const char *cert_file, const char *key_file,
                                    struct error_text *err);
/* When the certificate is over, seconds since 1970; 0 if there is none. */
int64_t http_tls_expires_s(void);
void http_tls_clear(void);

/* For MHD_OPTION_HTTPS_CERT_CALLBACK. */
gnutls_certificate_retrieve_function2 http_tls_retrieve;

/* As send(2) without waiting: after EAGAIN it has to be given the same bytes again. */
ssize_t http_tls_send(gnutls_session_t session, const char *bytes, size_t len);
/* Says that no more is sent. */
void http_tls_end(gnutls_session_t session);

#endif
