/* SPDX-License-Identifier: MIT */
#include "server/http_tls.h"

#include "common/clock.h"
#include "common/mem.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <string.h>

#define CHAIN_MAX  16
#define KEY_ID_MAX 64
/* A handshake of that time may still be about to sign with a key that is not used any more. */
#define RETIRED_NS (600 * NS_PER_SEC)

struct identity {
    struct identity *older;
    uint64_t retired_ns; /* CLOCK_MONOTONIC, when a newer one came */
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned count;
    gnutls_privkey_t key;
    int64_t expires_s;
};

static struct identity *current; /* then the older ones */

static void identity_free(struct identity *identity)
{
    if (!identity)
        return;
    for (unsigned i = 0; i < identity->count; i++)
        gnutls_pcert_deinit(&identity->chain[i]);
    gnutls_privkey_deinit(identity->key);
    mem_free(identity);
}

/* ---- reading ----------------------------------------------------------------------- */

static enum status read_file(const char *path, gnutls_datum_t *ret_text,
                             struct error_text *err)
{
    int rc = gnutls_load_file(path, ret_text);

    if (rc == 0)
        return ST_OK;
    return error_set(err, ST_IO, "%s: cannot be read: %s", path,
                     errno ? strerror(errno) : gnutls_strerror(rc));
}

static enum status import_cert(struct identity *identity, const char *path,
                               const gnutls_datum_t *text, struct error_text *err)
{
    unsigned count = CHAIN_MAX;
    gnutls_x509_crt_t cert;
    int rc = gnutls_pcert_list_import_x509_raw(identity->chain, &count, text,
                                               GNUTLS_X509_FMT_PEM, 0);

    if (rc != 0)
        return error_set(err, ST_INVALID, "%s: is not a certificate in PEM: %s", path,
                         gnutls_strerror(rc));
    identity->count = count;
    rc = gnutls_pcert_export_x509(&identity->chain[0], &cert);
    if (rc != 0)
        return error_set(err, ST_INVALID, "%s: %s", path, gnutls_strerror(rc));
    identity->expires_s = (int64_t)gnutls_x509_crt_get_expiration_time(cert);
    gnutls_x509_crt_deinit(cert);
    if (identity->expires_s * 1000 < clock_wall_ms())
        return error_set(err, ST_INVALID, "%s: the certificate has expired", path);
    return ST_OK;
}

static enum status import_key(struct identity *identity, const char *path,
                              const gnutls_datum_t *text, struct error_text *err)
{
    int rc = gnutls_privkey_init(&identity->key);

    if (rc == 0)
        rc = gnutls_privkey_import_x509_raw(identity->key, text, GNUTLS_X509_FMT_PEM,
                                            NULL, 0);
    return rc == 0 ? ST_OK
                   : error_set(err, ST_INVALID, "%s: is not a private key in PEM: %s",
                               path, gnutls_strerror(rc));
}

static bool belong_together(const struct identity *identity)
{
    unsigned char of_key[KEY_ID_MAX], of_cert[KEY_ID_MAX];
    size_t key_len = sizeof(of_key), cert_len = sizeof(of_cert);
    gnutls_pubkey_t pubkey;
    bool same;

    if (gnutls_pubkey_init(&pubkey) != 0)
        return false;
    same = gnutls_pubkey_import_privkey(pubkey, identity->key, 0, 0) == 0 &&
           gnutls_pubkey_get_key_id(pubkey, GNUTLS_KEYID_USE_SHA256, of_key, &key_len) ==
               0 &&
           gnutls_pubkey_get_key_id(identity->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256,
                                    of_cert, &cert_len) == 0 &&
           key_len == cert_len && memcmp(of_key, of_cert, key_len) == 0;
    gnutls_pubkey_deinit(pubkey);
    return same;
}

static void forget_old(uint64_t now_ns)
{
    struct identity **at = &current->older;

    while (*at) {
        struct identity *identity = *at;

        if (now_ns - identity->retired_ns < RETIRED_NS) {
            at = &identity->older;
            continue;
        }
        *at = identity->older;
        identity_free(identity);
    }
}

enum status http_tls_load(const char *cert_file, const char *key_file,
                          struct error_text *err)
{
    struct identity *identity = mem_zalloc(sizeof(*identity));
    gnutls_datum_t cert = { NULL, 0 }, key = { NULL, 0 };
    enum status st = ST_OK;

    if (!identity)
        return error_set(err, ST_NO_MEMORY, "out of memory");
    errno = 0;
    st = read_file(cert_file, &cert, err);
    if (st == ST_OK)
        st = read_file(key_file, &key, err);
    if (st == ST_OK)
        st = import_cert(identity, cert_file, &cert, err);
    if (st == ST_OK)
        st = import_key(identity, key_file, &key, err);
    if (st == ST_OK && !belong_together(identity))
        st = error_set(err, ST_INVALID, "%s: is not the key of the certificate in %s",
                       key_file, cert_file);
    gnutls_free(cert.data);
    if (key.data)
        gnutls_memset(key.data, 0, key.size);
    gnutls_free(key.data);
    if (st != ST_OK) {
        identity_free(identity);
        return st;
    }
    identity->older = current;
    if (current)
        current->retired_ns = clock_mono_ns();
    current = identity;
    forget_old(clock_mono_ns());
    return ST_OK;
}

int64_t http_tls_expires_s(void)
{
    return current ? current->expires_s : 0;
}

void http_tls_clear(void)
{
    while (current) {
        struct identity *older = current->older;

        identity_free(current);
        current = older;
    }
}

/* ---- for the library, and beside it ------------------------------------------------ */

int http_tls_retrieve(gnutls_session_t session, const gnutls_datum_t *authorities,
                      int authority_count, const gnutls_pk_algorithm_t *algorithms,
                      int algorithm_count, gnutls_pcert_st **ret_chain,
                      unsigned *ret_count, gnutls_privkey_t *ret_key)
{
    (void)session;
    (void)authorities;
    (void)authority_count;
    (void)algorithms;
    (void)algorithm_count;
    if (!current)
        return -1;
    *ret_chain = current->chain;
    *ret_count = current->count;
    *ret_key = current->key;
    return 0;
}

ssize_t http_tls_send(gnutls_session_t session, const char *bytes, size_t len)
{
    ssize_t n;

    do {
        n = gnutls_record_send(session, bytes, len);
    } while (n == GNUTLS_E_INTERRUPTED);
    if (n >= 0)
        return n;
    errno = n == GNUTLS_E_AGAIN ? EAGAIN : EPIPE;
    return -1;
}

void http_tls_end(gnutls_session_t session)
{
    (void)gnutls_bye(session, GNUTLS_SHUT_WR);
}
