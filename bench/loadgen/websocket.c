/* RFC 6455, the client's side. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "options.h"
#include "protocol.h"
#include "session.h"
#include "websocket_frame.h"

enum { LONGEST_MESSAGE = 1 << 28 };

/* Differs between connections, so that a server which forgets to unmask one of them is seen. */
static void choose_mask(const struct connection *c, uint8_t mask[4]) {
    uint32_t bits = (c->number + 1) * 2654435761u;
    memcpy(mask, &bits, 4);
}

static void put_frame(struct connection *c, unsigned opcode, const uint8_t *bytes, size_t length) {
    uint8_t head[FRAME_HEAD_SPACE], mask[4];
    choose_mask(c, mask);
    buffer_put(&c->out, head, frame_head(head, opcode, length, mask));
    buffer_put(&c->out, bytes, length);
    for (size_t i = 0; i < length; i++) c->out.bytes[c->out.end - length + i] ^= mask[i & 3];
}

void websocket_send(struct connection *c, const uint8_t *bytes, size_t length) { put_frame(c, OPCODE_TEXT, bytes, length); }

static void build(struct connection *c, struct template *request, const char *payload) {
    struct template body = {0};
    uint8_t head[FRAME_HEAD_SPACE], mask[4];
    template_text(&body, payload, c->number);
    choose_mask(c, mask);
    size_t length = frame_head(head, OPCODE_TEXT, body.frame.end, mask);
    buffer_put(&request->frame, head, length);
    template_join(request, &body);
    template_mask(request, length, mask);
    buffer_free(&body.frame);
}

static void prepare(struct connection *c) {
    build(c, &c->request, payload_of(c));
    if (c->role != ROLE_PUBLISHER || !options.command) return;
    c->others = need(KIND_COUNT, sizeof *c->others);
    build(c, &c->others[KIND_COMMAND], options.command);
    build(c, &c->others[KIND_ASK], options.ask);
}

static void hello(struct connection *c) {
    bool other = options.sub_path && (c->role == ROLE_SUBSCRIBER || c->role == ROLE_SLOW);
    char *text;
    size_t length;
    FILE *to = open_memstream(&text, &length);
    fprintf(to, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", other ? options.sub_path : options.path,
            options.host, options.port);
    fprintf(to, "Sec-WebSocket-Key: " WEBSOCKET_KEY "\r\nSec-WebSocket-Version: 13\r\n");
    if (options.subprotocol) fprintf(to, "Sec-WebSocket-Protocol: %s\r\n", options.subprotocol);
    for (int i = 0; i < options.headers.count; i++) fprintf(to, "%s\r\n", options.headers.items[i]);
    fputs("\r\n", to);
    fclose(to);
    buffer_put(&c->out, text, length);
    free(text);
    connection_state(c, STATE_HANDSHAKE);
}

static size_t handshake(struct connection *c, const uint8_t *bytes, size_t length) {
    const uint8_t *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end && length < 16384) return 0;
    if (!end || length < 12 || memcmp(bytes + 9, "101", 3) || !memmem(bytes, length, WEBSOCKET_ACCEPT, strlen(WEBSOCKET_ACCEPT)))
        die("the server refused the WebSocket: %.*s", length > 200 ? 200 : (int)length, bytes);
    connection_state(c, STATE_OPEN);
    return (size_t)(end - bytes) + 4;
}

static const struct texts *setup_of(enum role role) {
    if (role == ROLE_PUBLISHER) return &options.setup;
    return role == ROLE_READER ? &options.reader_setup : &options.sub_setup;
}

/* With --own-devices a text that names a device is sent once for each of the connection's. */
static unsigned repetitions(const struct connection *c, const char *text) {
    bool each = options.own_devices && c->role == ROLE_PUBLISHER && strstr(text, "{d}");
    return each ? (unsigned)(options.devices / options.publishers) : 1;
}

static bool setup(struct connection *c, unsigned step) {
    const struct texts *texts = setup_of(c->role);
    unsigned place = 0;
    for (; place < (unsigned)texts->count && step >= repetitions(c, texts->items[place]); place++)
        step -= repetitions(c, texts->items[place]);
    if (place == (unsigned)texts->count) return false;
    unsigned device = device_of(c) + step * (unsigned)options.publishers;
    struct buffer text = template_once(texts->items[place], c->number, device, FIRST_SERIAL);
    put_frame(c, OPCODE_TEXT, text.bytes, text.end);
    buffer_free(&text);
    return true;
}

/* Pieces of a fragmented message wait in `extra`. */
static void data_frame(struct connection *c, const struct frame *f, const uint8_t *bytes, uint64_t now) {
    struct buffer *pieces = c->extra;
    if (f->opcode != OPCODE_CONTINUATION && f->final) {
        session_message(c, bytes, f->length, now);
        return;
    }
    if (!pieces) pieces = c->extra = need(1, sizeof *pieces);
    buffer_put(pieces, bytes, f->length);
    if (!f->final) return;
    session_message(c, buffer_data(pieces), buffer_length(pieces), now);
    buffer_take(pieces, buffer_length(pieces));
}

static void treat(struct connection *c, const struct frame *f, const uint8_t *bytes, uint64_t now) {
    switch (f->opcode) {
    case OPCODE_CONTINUATION: case OPCODE_TEXT: case OPCODE_BINARY: data_frame(c, f, bytes, now); break;
    case OPCODE_PING:
        put_frame(c, OPCODE_PONG, bytes, f->length);
        connection_touch(c);
        break;
    case OPCODE_PONG: break;
    case OPCODE_CLOSE: connection_lost(c, "the server closed the WebSocket"); break;
    default: connection_lost(c, "a frame with an opcode that does not exist");
    }
}

static size_t parse(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    struct frame f = {0};
    if (c->state == STATE_HANDSHAKE) {
        size_t head = handshake(c, bytes, length);
        return head && head < length ? head + parse(c, bytes + head, length - head, now) : head;
    }
    size_t used = 0;
    while (c->state != STATE_LOST && frame_read(&f, bytes + used, length - used)) {
        if (f.masked || f.reserved) {
            connection_lost(c, "a masked or extended frame, which no server may send");
            break;
        }
        treat(c, &f, bytes + used + f.head, now);
        used += f.head + f.length;
    }
    if (used < length && f.length > LONGEST_MESSAGE) die("a frame of %zu bytes announced", f.length);
    return used;
}

const struct protocol websocket_protocol = {prepare, hello, setup, parse, may_always_send, send_template};
