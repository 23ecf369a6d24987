/* SPDX-License-Identifier: MIT */
#include "server/ca_file.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

enum status ca_file_check(const char *path, struct error_text *err)
{
    gnutls_x509_crt_t *certificates = NULL;
    gnutls_datum_t text = { NULL, 0 };
    unsigned count = 0;
    int error = gnutls_load_file(path, &text);

    if (error < 0)
        return error_set(err, ST_INVALID, "%s: cannot be read", path);
    error = gnutls_x509_crt_list_import2(&certificates, &count, &text,
                                         GNUTLS_X509_FMT_PEM, 0);
    gnutls_free(text.data);
    if (error < 0)
        return error_set(err, ST_INVALID, "%s: holds no certificates in PEM: %s", path,
                         gnutls_strerror(error));
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(certificates[i]);
    gnutls_free(certificates);
    return ST_OK;
}
