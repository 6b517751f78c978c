#include "load.h"

#include "common.h"
#include "mix.h"
#include "options.h"
#include "protocol.h"

/* Beyond this the server does not read, and what is not yet sent would only cost memory. */
enum { MOST_UNSENT = 1 << 20 };

struct ledger publisher_ledger, reader_ledger;
struct load load;
static bool starved; /* a ledger was full: publishers must be looked at again */

static void publisher_closed(unsigned owner) {
    struct connection *c = connection_of(ROLE_PUBLISHER, owner);
    c->in_flight--;
    connection_touch(c);
}

static void reader_closed(unsigned owner) {
    struct connection *c = connection_of(ROLE_READER, owner);
    c->in_flight--;
    connection_touch(c);
}

static void prepare_ledgers(void) {
    double in_flight = options.mode == MODE_RATE ? options.rate / 4 : (double)options.publishers * options.window;
    publisher_ledger = (struct ledger){
        .owners = (unsigned)options.publishers, .subscribers = (unsigned)options.subscribers, .devices = (unsigned)options.devices,
        .scatter = options.scatter, .to_all = options.to_all, .close_by_answer = options.flow != FLOW_DELIVER,
        .close_by_delivery = options.flow != FLOW_ACK, .answers_expected = options.protocol != PROTOCOL_MQTT || options.qos,
        .kind_of = options.command ? mix_kind : NULL, .closed = publisher_closed};
    ledger_prepare(&publisher_ledger, (uint64_t)in_flight);
    reader_ledger = (struct ledger){.owners = (unsigned)options.readers, .devices = 1, .close_by_answer = true, .answers_expected = true,
                                    .closed = reader_closed};
    ledger_prepare(&reader_ledger, (uint64_t)options.readers * (uint64_t)options.reader_window);
}

const char *payload_of(const struct connection *c) { return c->role == ROLE_READER ? options.reader_payload : options.payload; }

unsigned device_of(const struct connection *c) { return c->index % (unsigned)options.devices; }

void load_prepare(void) {
    prepare_ledgers();
    mix_prepare();
    for (unsigned i = 0; i < connection_count; i++) {
        struct connection *c = &connections[i];
        c->ledger = c->role == ROLE_READER ? &reader_ledger : &publisher_ledger;
        if (c->role == ROLE_PUBLISHER || c->role == ROLE_READER) protocol->prepare(c);
    }
}

bool load_sent_all(void) { return options.requests && publisher_ledger.tally.sent >= (uint64_t)options.requests; }

static bool can_send(struct connection *c) {
    if (c->role == ROLE_PUBLISHER && load_sent_all()) return false;
    return c->state == STATE_READY && buffer_length(&c->out) < MOST_UNSENT && protocol->may_send(c);
}

static bool send_request(struct connection *c, uint64_t due) {
    uint64_t serial = ledger_send(c->ledger, c->index, due, load.measuring);
    if (!serial) {
        starved = true;
        return false;
    }
    protocol->request(c, serial, due);
    c->in_flight++;
    return true;
}

static void pump(struct connection *c) {
    unsigned window = c->role == ROLE_READER ? (unsigned)options.reader_window : (unsigned)options.window;
    bool closed_loop = c->role == ROLE_READER || (c->role == ROLE_PUBLISHER && options.mode != MODE_RATE);
    if (!load.sending || !closed_loop || c->in_flight >= window) return;
    uint64_t now = now_ns();
    while (c->in_flight < window && can_send(c) && send_request(c, now)) continue;
}

/* The next publisher in turn that can take a request; NULL when none can. */
static struct connection *next_publisher(void) {
    static unsigned turn;
    for (unsigned tried = 0; tried < connections_of[ROLE_PUBLISHER]; tried++) {
        struct connection *c = connection_of(ROLE_PUBLISHER, turn++ % connections_of[ROLE_PUBLISHER]);
        if (can_send(c)) return c;
    }
    return NULL;
}

/* Latency runs from the moment when a request was due: a stall is charged to every request that it held up. */
static void send_what_is_due(uint64_t now) {
    static double due;
    if (due == 0) due = (double)now;
    for (; due <= (double)now; due += 1e9 / options.rate) {
        struct connection *c = next_publisher();
        if (load.measuring && now - (uint64_t)due > load.late) load.late = now - (uint64_t)due;
        if (!c || !send_request(c, (uint64_t)due)) break;
        connection_touch(c);
    }
}

void load_start(void) {
    load.sending = true;
    for (unsigned i = 0; i < connection_count; i++) connection_touch(&connections[i]);
}

void load_turn(void) {
    bool open_loop = load.sending && options.mode == MODE_RATE;
    if (open_loop) send_what_is_due(now_ns());
    if (starved && load.sending) load_start();
    starved = false;
    connections_turn(open_loop ? 0 : 10, pump); /* timers are too coarse for the open loop: it spins */
}

uint64_t load_progress(void) {
    return publisher_ledger.tally.answered + publisher_ledger.tally.delivered + reader_ledger.tally.answered + update_ledger.tally.answered;
}

bool may_always_send(struct connection *c) {
    (void)c;
    return true;
}

void send_template(struct connection *c, uint64_t serial, uint64_t now) {
    enum request_kind kind = c->others ? mix_kind(serial) : KIND_PLAIN;
    struct template *request = kind == KIND_PLAIN ? &c->request : &c->others[kind];
    template_fill(request, serial, c->others ? mix_device(c->ledger, serial) : ledger_device(c->ledger, serial), now);
    buffer_put(&c->out, request->frame.bytes, request->frame.end);
}
