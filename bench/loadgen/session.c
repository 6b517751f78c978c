#include "session.h"

#include <stdio.h>

#include "common.h"
#include "mark.h"
#include "mix.h"
#include "options.h"
#include "protocol.h"
#include "replay.h"

static struct mark ack, deliver, error, setup_ok, answer_id, delivery_id;

void session_prepare(void) {
    ack = mark_of(options.ack);
    deliver = mark_of(options.deliver);
    error = mark_of(options.error);
    setup_ok = mark_of(options.setup_ok);
    answer_id = mark_of(options.answer_id);
    delivery_id = mark_of(options.delivery_id);
}

static int shown(size_t length) { return length > 300 ? 300 : (int)length; }

void session_complain(const struct connection *c, const char *what, const uint8_t *bytes, size_t length) {
    static int said;
    if (said++ < 5) fprintf(stderr, "loadgen: connection %u: %s: %.*s\n", c->number, what, shown(length), bytes);
}

void session_setup(struct connection *c) {
    connection_state(c, STATE_SETUP);
    if (protocol->setup(c, c->setup_done)) connection_touch(c);
    else connection_state(c, STATE_READY);
}

static void setup_answer(struct connection *c, const uint8_t *bytes, size_t length) {
    if (mark_set(&setup_ok) && !mark_in(&setup_ok, bytes, length))
        die("the answer to setup message %u lacks \"%s\": %.*s", c->setup_done + 1, options.setup_ok, shown(length), bytes);
    c->setup_done++;
    session_setup(c);
}

void session_unknown(struct connection *c, const char *what, const uint8_t *bytes, size_t length) {
    c->ledger->tally.unknown++;
    session_complain(c, what, bytes, length);
}

/* What the marks say of an answer; false when it is none. */
static bool judge(struct connection *c, bool *bad, const uint8_t *bytes, size_t length) {
    *bad = *bad || (mark_set(&error) && mark_in(&error, bytes, length));
    if (*bad) session_complain(c, "error answer", bytes, length);
    else if (mark_set(&ack) && !mark_in(&ack, bytes, length)) {
        session_unknown(c, "not an answer", bytes, length);
        return false;
    }
    return true;
}

void session_answer(struct connection *c, uint64_t serial, bool bad, const uint8_t *bytes, size_t length, uint64_t now) {
    if (judge(c, &bad, bytes, length)) ledger_answer(c->ledger, c->index, serial, now, bad);
}

static void answer(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    uint64_t serial;
    bool bad = false;
    if (!judge(c, &bad, bytes, length)) return;
    if (mark_number(&answer_id, bytes, length, &serial)) ledger_answer(c->ledger, c->index, serial, now, bad);
    else if (bad) c->ledger->tally.errors++;
    else session_unknown(c, "no id in the answer", bytes, length);
}

void session_delivery(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    uint64_t serial;
    if (c->role != ROLE_SUBSCRIBER) session_unknown(c, "a delivery for somebody who did not subscribe", bytes, length);
    else if (mark_set(&deliver) && !mark_in(&deliver, bytes, length)) session_unknown(c, "not a delivery", bytes, length);
    else if (!mark_number(&delivery_id, bytes, length, &serial)) session_unknown(c, "no serial in the delivery", bytes, length);
    else if (options.mode == MODE_REPLAY) replay_delivery(c, serial);
    else ledger_delivery(c->ledger, c->index, serial, now);
}

void session_message(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    if (c->state == STATE_OPEN) return; /* a greeting */
    /* Stored messages may come before the last answer, which may have the mark of a delivery too. */
    bool replayed = options.mode == MODE_REPLAY && mark_in(&deliver, bytes, length) && !mark_in(&setup_ok, bytes, length);
    if (c->state == STATE_SETUP && !replayed) setup_answer(c, bytes, length);
    else if (c->role == ROLE_SUBSCRIBER) session_delivery(c, bytes, length, now);
    else if (c->role == ROLE_PUBLISHER && options.command && mix_message(c, bytes, length, now)) return;
    else if (c->role != ROLE_SLOW) answer(c, bytes, length, now);
}
