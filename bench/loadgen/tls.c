/* TLS by OpenSSL. The server is on this machine, so its certificate is not checked. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "common.h"

static SSL_CTX *context;

void tls_prepare(void) {
    context = SSL_CTX_new(TLS_client_method());
    if (!context) die("TLS: %s", tls_reason());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* One system call for many records: the generator must cost less than what it measures. */
    SSL_CTX_set_read_ahead(context, 1);
}

static ssize_t progress(struct connection *c, int done) {
    if (done > 0) return done;
    switch (SSL_get_error(c->tls, done)) {
    case SSL_ERROR_WANT_READ: return WAITS_TO_READ;
    case SSL_ERROR_WANT_WRITE: return WAITS_TO_WRITE;
    case SSL_ERROR_ZERO_RETURN: return ENDED;
    default: return BROKEN;
    }
}

void tls_begin(struct connection *c) {
    c->tls = SSL_new(context);
    if (!c->tls || !SSL_set_fd(c->tls, c->fd)) die("TLS: %s", tls_reason());
    SSL_set_connect_state(c->tls);
}

ssize_t tls_handshake(struct connection *c) {
    ERR_clear_error();
    return progress(c, SSL_do_handshake(c->tls));
}

ssize_t tls_read(struct connection *c, void *bytes, size_t length) {
    ERR_clear_error();
    return progress(c, SSL_read(c->tls, bytes, (int)length));
}

ssize_t tls_write(struct connection *c, const void *bytes, size_t length) {
    ERR_clear_error();
    return progress(c, SSL_write(c->tls, bytes, (int)length));
}

void tls_end(struct connection *c) {
    SSL_free(c->tls);
    c->tls = NULL;
}

const char *tls_reason(void) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : errno ? strerror(errno) : "it ended without a close";
}
