/* HTTP/1.1 on connections that stay open. An answer has no serial: those of one connection come in the order of its requests. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common.h"
#include "fifo.h"
#include "options.h"
#include "protocol.h"
#include "session.h"

enum { LONGEST_HEAD = 1 << 16 };

static void put_line(struct template *t, const char *name, const char *value) {
    buffer_put(&t->frame, name, strlen(name));
    buffer_put(&t->frame, value, strlen(value));
    buffer_put(&t->frame, "\r\n", 2);
}

static void prepare(struct connection *c) {
    struct template body = {0};
    char text[64];
    template_text(&body, payload_of(c), c->number);
    buffer_put(&c->request.frame, options.method, strlen(options.method));
    buffer_put(&c->request.frame, " ", 1);
    template_text(&c->request, options.path, c->number);
    put_line(&c->request, " HTTP/1.1", "");
    snprintf(text, sizeof text, "%s:%d", options.host, options.port);
    put_line(&c->request, "Host: ", text);
    for (int i = 0; i < options.headers.count; i++) put_line(&c->request, options.headers.items[i], "");
    snprintf(text, sizeof text, "%zu", body.frame.end);
    if (body.frame.end) put_line(&c->request, "Content-Length: ", text);
    buffer_put(&c->request.frame, "\r\n", 2);
    template_join(&c->request, &body);
    buffer_free(&body.frame);
    c->extra = need(1, sizeof(struct fifo));
}

static void hello(struct connection *c) { connection_state(c, STATE_OPEN); }

static bool setup(struct connection *c, unsigned step) {
    (void)c, (void)step;
    return false;
}

/* The length of the body that a head announces. */
static size_t body_length(const char *head, const char *end) {
    static const char NAME[] = "content-length:";
    for (const char *line = head; line < end; line = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1)
        if (!strncasecmp(line, NAME, sizeof NAME - 1)) return strtoul(line + sizeof NAME - 1, NULL, 10);
    die("an answer without Content-Length, which is not read here: %.*s", (int)(end - head > 200 ? 200 : end - head), head);
}

static void treat(struct connection *c, const uint8_t *head, const uint8_t *body, size_t length, uint64_t now) {
    uint64_t serial = fifo_take(c->extra);
    bool bad = head[9] != '2';
    if (serial) session_answer(c, serial, bad, bad ? head : body, bad ? 12 : length, now);
    else session_unknown(c, "an answer to nothing", head, 12);
}

static size_t parse(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    size_t used = 0;
    while (length - used > 12) {
        const uint8_t *head = bytes + used, *end = memmem(head, length - used, "\r\n\r\n", 4);
        if (!end && length - used > LONGEST_HEAD) die("this is not HTTP: %.*s", 200, head);
        if (!end) break;
        size_t size = (size_t)(end + 4 - head), body = body_length((const char *)head, (const char *)end + 2);
        if (length - used - size < body) break;
        treat(c, head, head + size, body, now);
        used += size + body;
    }
    return used;
}

static void request(struct connection *c, uint64_t serial, uint64_t now) {
    fifo_put(c->extra, serial);
    send_template(c, serial, now);
}

const struct protocol http_protocol = {prepare, hello, setup, parse, may_always_send, request};
