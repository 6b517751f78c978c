/* What differs between WebSocket, MQTT and raw frames. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include "connection.h"

struct protocol {
    /* Build the request of a publisher or reader. */
    void (*prepare)(struct connection *c);

    /* Write the first bytes, and go to STATE_HANDSHAKE or, where there is none, to STATE_OPEN. */
    void (*hello)(struct connection *c);

    /* Write that setup message; false when there is none. */
    bool (*setup)(struct connection *c, unsigned step);

    /* Take whole frames from bytes that may end anywhere; returns how many bytes were used. */
    size_t (*parse)(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now);

    /* Whether another request may be sent now. */
    bool (*may_send)(struct connection *c);

    /* Write the request with that serial. */
    void (*request)(struct connection *c, uint64_t serial, uint64_t now);
};

extern const struct protocol websocket_protocol, mqtt_protocol, raw_protocol, http_protocol, nats_protocol, postgres_protocol;
extern const struct protocol *protocol;

/* Write a message beyond those of the load. */
void websocket_send(struct connection *c, const uint8_t *bytes, size_t length);

const char *payload_of(const struct connection *c);
unsigned device_of(const struct connection *c);

/* For protocols whose requests differ in marks alone, and wait for nothing. */
bool may_always_send(struct connection *c);
void send_template(struct connection *c, uint64_t serial, uint64_t now);

#endif
