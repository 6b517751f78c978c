/* MQTT 3.1.1, QoS 0 and 1. A PUBACK names its request by packet id, a delivery by the serial in its payload. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "options.h"
#include "protocol.h"
#include "session.h"

enum kind { CONNACK = 2, PUBLISH = 3, PUBACK = 4, SUBACK = 9 };
enum first_byte { CONNECT = 0x10, PUBLISH_QOS0 = 0x30, PUBLISH_QOS1 = 0x32, PUBACK_BYTE = 0x40, SUBSCRIBE = 0x82 };
enum flags { CLEAN_SESSION = 0x02, WITH_LOGIN = 0xc0 }; /* the latter: user name and password follow */
enum { MOST_IDS = 65535 };

/* Packet ids 1..count; a free one has the serial 0. */
struct packet_ids {
    unsigned count, next;
    size_t at; /* where the id stands in the request */
    uint32_t serials[];
};

static size_t put_length(uint8_t *to, size_t length) {
    size_t at = 0;
    do {
        to[at] = length & 127;
        length >>= 7;
        if (length) to[at] |= 128;
        at++;
    } while (length);
    return at;
}

static void put_head(struct buffer *to, unsigned kind, size_t length) {
    uint8_t head[6] = {(uint8_t)kind};
    buffer_put(to, head, 1 + put_length(head + 1, length));
}

static void put_u16(struct buffer *to, size_t value) { buffer_put(to, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2); }

static void put_text(struct buffer *to, const char *text) {
    put_u16(to, strlen(text));
    buffer_put(to, text, strlen(text));
}

/* Few ids for small windows: a thousand publishers with all of them would not fit the cache. */
static struct packet_ids *new_ids(void) {
    unsigned count = options.mode == MODE_RATE || options.flow == FLOW_DELIVER ? MOST_IDS : 4u * (unsigned)options.window;
    if (count > MOST_IDS) count = MOST_IDS;
    struct packet_ids *ids = need(1, sizeof *ids + (count + 1) * sizeof *ids->serials);
    ids->count = count;
    ids->next = 1;
    return ids;
}

static void prepare(struct connection *c) {
    struct template topic = {0}, body = {0};
    struct packet_ids *ids = c->extra = new_ids();
    template_text(&topic, options.topic, c->number);
    template_text(&body, options.payload, c->number);
    put_head(&c->request.frame, options.qos ? PUBLISH_QOS1 : PUBLISH_QOS0, 2 + topic.frame.end + (options.qos ? 2 : 0) + body.frame.end);
    put_u16(&c->request.frame, topic.frame.end);
    template_join(&c->request, &topic);
    ids->at = c->request.frame.end;
    if (options.qos) put_u16(&c->request.frame, 0);
    template_join(&c->request, &body);
    buffer_free(&topic.frame);
    buffer_free(&body.frame);
}

static void hello(struct connection *c) {
    uint8_t start[] = {0, 4, 'M', 'Q', 'T', 'T', 4, CLEAN_SESSION, 0, 0}; /* version 4, no keep-alive */
    bool known = options.login;
    char name[32];
    snprintf(name, sizeof name, "lg%d-%u", (int)getpid(), c->number);
    if (known) start[7] |= WITH_LOGIN;
    size_t credentials = known ? 4 + strlen(options.login) + strlen(options.password) : 0;
    put_head(&c->out, CONNECT, sizeof start + 2 + strlen(name) + credentials);
    buffer_put(&c->out, start, sizeof start);
    put_text(&c->out, name);
    if (known) put_text(&c->out, options.login);
    if (known) put_text(&c->out, options.password);
    connection_state(c, STATE_HANDSHAKE);
}

static bool setup(struct connection *c, unsigned step) {
    if (step || (c->role != ROLE_SUBSCRIBER && c->role != ROLE_SLOW)) return false;
    struct buffer topic = template_once(options.sub_topic ? options.sub_topic : options.topic, c->number, device_of(c), FIRST_SERIAL);
    put_head(&c->out, SUBSCRIBE, 2 + 2 + topic.end + 1);
    put_u16(&c->out, 1);
    put_u16(&c->out, topic.end);
    buffer_put(&c->out, topic.bytes, topic.end);
    buffer_put(&c->out, (uint8_t[]){(uint8_t)options.qos}, 1);
    buffer_free(&topic);
    return true;
}

static void on_puback(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    struct packet_ids *ids = c->extra;
    unsigned id = length >= 2 ? (unsigned)bytes[0] << 8 | bytes[1] : 0;
    if (!ids || !id || id > ids->count) c->ledger->tally.unknown++;
    else if (!ids->serials[id]) c->ledger->tally.answered_twice++;
    else {
        uint64_t serial = (uint64_t)ids->serials[id] + FIRST_SERIAL - 1;
        ids->serials[id] = 0;
        ledger_answer(c->ledger, c->index, serial, now, false);
    }
}

static void on_publish(struct connection *c, unsigned flags, const uint8_t *bytes, size_t length, uint64_t now) {
    size_t topic = length >= 2 ? (size_t)bytes[0] << 8 | bytes[1] : length, at = 2 + topic, id = at;
    if (flags & 6) at += 2;
    if (at > length) {
        connection_lost(c, "a PUBLISH that is too short");
        return;
    }
    if (flags & 6) {
        buffer_put(&c->out, (uint8_t[]){PUBACK_BYTE, 2, bytes[id], bytes[id + 1]}, 4);
        connection_touch(c);
    }
    session_delivery(c, bytes + at, length - at, now);
}

static void treat(struct connection *c, unsigned first, const uint8_t *bytes, size_t length, uint64_t now) {
    switch (first >> 4) {
    case CONNACK:
        if (length < 2 || bytes[1]) die("the broker refused the connection, code %d", length < 2 ? -1 : bytes[1]);
        connection_state(c, STATE_OPEN);
        break;
    case SUBACK:
        if (length < 3 || bytes[2] & 0x80) die("the broker refused the subscription");
        c->setup_done++;
        session_setup(c);
        break;
    case PUBACK: on_puback(c, bytes, length, now); break;
    case PUBLISH: on_publish(c, first & 15, bytes, length, now); break;
    default: session_complain(c, "unexpected packet", bytes, 0);
    }
}

/* The length of a packet's head, with the length of its rest; 0 when bytes are missing. */
static size_t read_head(const uint8_t *bytes, size_t available, size_t *length) {
    *length = 0;
    for (size_t at = 1; at < available && at < 5; at++) {
        *length |= (size_t)(bytes[at] & 127) << (7 * (at - 1));
        if (!(bytes[at] & 128)) return at + 1;
    }
    return 0;
}

static size_t parse(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    size_t used = 0, head, rest;
    while (c->state != STATE_LOST && (head = read_head(bytes + used, length - used, &rest)) && length - used - head >= rest) {
        treat(c, bytes[used], bytes + used + head, rest, now);
        used += head + rest;
    }
    return used;
}

static bool may_send(struct connection *c) {
    struct packet_ids *ids = c->extra;
    if (!options.qos) return true;
    for (unsigned tried = 0; tried < ids->count && ids->serials[ids->next]; tried++) ids->next = ids->next % ids->count + 1;
    return !ids->serials[ids->next];
}

static void request(struct connection *c, uint64_t serial, uint64_t now) {
    struct packet_ids *ids = c->extra;
    template_fill(&c->request, serial, ledger_device(c->ledger, serial), now);
    if (options.qos) {
        c->request.frame.bytes[ids->at] = (uint8_t)(ids->next >> 8);
        c->request.frame.bytes[ids->at + 1] = (uint8_t)ids->next;
        ids->serials[ids->next] = (uint32_t)(serial - FIRST_SERIAL + 1);
        ids->next = ids->next % ids->count + 1;
    }
    buffer_put(&c->out, c->request.frame.bytes, c->request.frame.end);
}

const struct protocol mqtt_protocol = {prepare, hello, setup, parse, may_send, request};
