/* What a message means: it depends on who receives it, and when. */
#ifndef SESSION_H
#define SESSION_H

#include "connection.h"

void session_prepare(void);

/* Send the next setup message, or be ready. */
void session_setup(struct connection *c);

/* A whole message. */
void session_message(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now);
void session_delivery(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now);

/* The answer to the request with that serial; `bad` when it is known to be an error. */
void session_answer(struct connection *c, uint64_t serial, bool bad, const uint8_t *bytes, size_t length, uint64_t now);

/* A message that nobody asked for. */
void session_unknown(struct connection *c, const char *what, const uint8_t *bytes, size_t length);

/* Show the first few of what went wrong. */
void session_complain(const struct connection *c, const char *what, const uint8_t *bytes, size_t length);

#endif
