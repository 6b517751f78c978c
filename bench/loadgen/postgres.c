/* The protocol of PostgreSQL, version 3: one prepared statement with one parameter, each execution a transaction of its own. */
#include <stdio.h>
#include <string.h>

#include "common.h"
#include "fifo.h"
#include "options.h"
#include "protocol.h"
#include "session.h"

enum { VERSION = 196608, HEAD = 5 };

struct progress {
    struct fifo sent;
    bool failed; /* the transaction that is being answered */
};

static void put_number(struct buffer *to, size_t value, unsigned bytes) {
    while (bytes--) buffer_put(to, (uint8_t[]){(uint8_t)(value >> (8 * bytes))}, 1);
}

static void put_text(struct buffer *to, const char *text) { buffer_put(to, text, strlen(text) + 1); }

/* A message of that kind with these bytes; kind 0 is the one that has none. */
static void put_message(struct buffer *to, char kind, const struct buffer *body) {
    if (kind) buffer_put(to, &kind, 1);
    put_number(to, body->end + 4, 4);
    buffer_put(to, body->bytes, body->end);
}

static void put_sync(struct buffer *to) { buffer_put(to, "S\0\0\0\4", HEAD); }

/* Bind and Execute of the statement without name, in the portal without name; Sync ends the transaction. */
static void prepare(struct connection *c) {
    struct template value = {0};
    struct buffer *to = &c->request.frame;
    template_text(&value, payload_of(c), c->number);
    buffer_put(to, "B", 1);
    put_number(to, 4 + 2 + 2 + 2 + 4 + value.frame.end + 2, 4);
    put_number(to, 0, 2); /* both names */
    put_number(to, 0, 2); /* parameters are text */
    put_number(to, 1, 2);
    put_number(to, value.frame.end, 4);
    template_join(&c->request, &value);
    put_number(to, 0, 2); /* results are text */
    buffer_put(to, "E\0\0\0\11\0\0\0\0\0", 10);
    put_sync(to);
    buffer_free(&value.frame);
    c->extra = need(1, sizeof(struct progress));
}

static void hello(struct connection *c) {
    struct buffer body = {0};
    put_number(&body, VERSION, 4);
    put_text(&body, "user");
    put_text(&body, options.user);
    put_text(&body, "database");
    put_text(&body, options.database);
    put_text(&body, "");
    put_message(&c->out, 0, &body);
    buffer_free(&body);
    connection_state(c, STATE_HANDSHAKE);
}

static bool setup(struct connection *c, unsigned step) {
    struct buffer body = {0};
    if (step >= (unsigned)options.setup.count) return false;
    put_text(&body, "");
    put_text(&body, options.setup.items[step]);
    put_number(&body, 0, 2);
    put_message(&c->out, 'P', &body);
    put_sync(&c->out);
    buffer_free(&body);
    return true;
}

/* The server waits for the next message: what was asked before is done, and committed. */
static void on_ready(struct connection *c, uint64_t now) {
    struct progress *progress = c->extra;
    if (c->state == STATE_HANDSHAKE) connection_state(c, STATE_OPEN);
    else if (c->state == STATE_SETUP) {
        c->setup_done++;
        session_setup(c);
    } else {
        uint64_t serial = fifo_take(&progress->sent);
        if (serial) session_answer(c, serial, progress->failed, NULL, 0, now);
        else session_unknown(c, "an answer to nothing", NULL, 0);
        progress->failed = false;
    }
}

static void on_error(struct connection *c, const uint8_t *body, size_t length) {
    struct progress *progress = c->extra;
    /* Fields, each a letter and a text; they are readable enough with their noughts left out. */
    if (c->state != STATE_READY) die("PostgreSQL refuses: %.*s", (int)(length > 200 ? 200 : length), body + 1);
    session_complain(c, "error", body + 1, length - 1);
    progress->failed = true;
}

static void treat(struct connection *c, char kind, const uint8_t *body, size_t length, uint64_t now) {
    if (kind == 'Z') on_ready(c, now);
    else if (kind == 'E') on_error(c, body, length);
    else if (kind == 'R' && (length < 4 || memcmp(body, "\0\0\0\0", 4))) die("PostgreSQL wants a password, which is not given here");
}

static size_t parse(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    size_t used = 0;
    while (length - used >= HEAD) {
        const uint8_t *at = bytes + used;
        size_t size = 1 + ((size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4]);
        if (length - used < size) break;
        treat(c, (char)at[0], at + HEAD, size - HEAD, now);
        used += size;
    }
    return used;
}

static void request(struct connection *c, uint64_t serial, uint64_t now) {
    struct progress *progress = c->extra;
    fifo_put(&progress->sent, serial);
    send_template(c, serial, now);
}

const struct protocol postgres_protocol = {prepare, hello, setup, parse, may_always_send, request};
