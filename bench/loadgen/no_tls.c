/* Where the headers of OpenSSL are missing: --tls ends the program at once, and nothing else is ever called. */
#include "common.h"
#include "tls.h"

void tls_prepare(void) { unsupported("the generator was built without TLS; install the headers of OpenSSL (apt install libssl-dev)"); }

void tls_begin(struct connection *c) { (void)c; }

ssize_t tls_handshake(struct connection *c) { return (void)c, BROKEN; }

ssize_t tls_read(struct connection *c, void *bytes, size_t length) { return (void)c, (void)bytes, (void)length, BROKEN; }

ssize_t tls_write(struct connection *c, const void *bytes, size_t length) { return (void)c, (void)bytes, (void)length, BROKEN; }

void tls_end(struct connection *c) { (void)c; }

const char *tls_reason(void) { return "there is no TLS"; }
