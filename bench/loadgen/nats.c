/* The NATS protocol, as far as a publisher to a stream needs it: an acknowledgement comes to the subject that the request names. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "options.h"
#include "protocol.h"
#include "session.h"

static void prepare(struct connection *c) {
    struct template body = {0};
    char size[32];
    template_text(&body, payload_of(c), c->number);
    template_text(&c->request, "PUB ", c->number);
    template_text(&c->request, options.topic, c->number);
    template_text(&c->request, " ack.{c}.{n}", c->number);
    buffer_put(&c->request.frame, size, (size_t)snprintf(size, sizeof size, " %zu\r\n", body.frame.end));
    template_join(&c->request, &body);
    buffer_put(&c->request.frame, "\r\n", 2);
    buffer_free(&body.frame);
}

static void hello(struct connection *c) { connection_state(c, STATE_HANDSHAKE); }

static bool setup(struct connection *c, unsigned step) {
    (void)c, (void)step;
    return false;
}

static void introduce(struct connection *c) {
    static const char CONNECT[] = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\",\"protocol\":1}\r\n";
    char subscription[64];
    buffer_put(&c->out, CONNECT, sizeof CONNECT - 1);
    buffer_put(&c->out, subscription, (size_t)snprintf(subscription, sizeof subscription, "SUB ack.%u.* 1\r\nPING\r\n", c->number));
    connection_touch(c);
}

/* The line of a message: MSG subject sid size. The subject ends with the serial. */
static void on_message(struct connection *c, const char *line, const uint8_t *body, size_t length, uint64_t now) {
    const char *end = strchr(line + 4, ' '), *dot = end ? memrchr(line, '.', (size_t)(end - line)) : NULL;
    uint64_t serial = dot ? strtoull(dot + 1, NULL, 10) : 0;
    if (serial) session_answer(c, serial, false, body, length, now);
    else session_unknown(c, "no serial in the subject", body, length);
}

static void on_line(struct connection *c, const char *line, size_t length) {
    if (!strncmp(line, "INFO ", 5) && c->state == STATE_HANDSHAKE) introduce(c);
    else if (!strncmp(line, "PONG", 4) && c->state == STATE_HANDSHAKE) connection_state(c, STATE_OPEN);
    else if (!strncmp(line, "PING", 4)) {
        buffer_put(&c->out, "PONG\r\n", 6);
        connection_touch(c);
    } else if (!strncmp(line, "-ERR", 4)) {
        session_complain(c, "the server refused something", (const uint8_t *)line, length);
        connection_lost(c, "the server refused something");
    }
}

static size_t parse(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    size_t used = 0;
    while (c->state != STATE_LOST) {
        const char *line = (const char *)bytes + used;
        const uint8_t *end = memmem(line, length - used, "\r\n", 2);
        if (!end) break;
        size_t size = (size_t)(end + 2 - (const uint8_t *)line);
        if (strncmp(line, "MSG ", 4)) on_line(c, line, size);
        else {
            size_t body = strtoul((const char *)memrchr(line, ' ', size) + 1, NULL, 10);
            if (length - used - size < body + 2) break;
            on_message(c, line, end + 2, body, now);
            size += body + 2;
        }
        used += size;
    }
    return used;
}

const struct protocol nats_protocol = {prepare, hello, setup, parse, may_always_send, send_template};
