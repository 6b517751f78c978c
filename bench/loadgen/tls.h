/* The bytes of a connection, in clear or over TLS. */
#ifndef TLS_H
#define TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "connection.h"

/* How far a call came: so many bytes (or at least 1), or one of these. */
enum progress { BROKEN = -3, WAITS_TO_WRITE = -2, WAITS_TO_READ = -1, ENDED = 0 };

/* Get ready for --tls; ends the program where the generator was built without it. */
void tls_prepare(void);

/* Begin TLS on a connected socket, then go on with its handshake; > 0 when it is complete. */
void tls_begin(struct connection *c);
ssize_t tls_handshake(struct connection *c);

ssize_t tls_read(struct connection *c, void *bytes, size_t length);
ssize_t tls_write(struct connection *c, const void *bytes, size_t length);
void tls_end(struct connection *c);

/* Why the last call came to BROKEN. */
const char *tls_reason(void);

#endif
