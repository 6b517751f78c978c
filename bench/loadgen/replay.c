#include "replay.h"

#include "common.h"
#include "connection.h"
#include "load.h"
#include "options.h"
#include "process.h"
#include "protocol.h"
#include "session.h"

static uint64_t last_at;

/* Another run of this program has stored them: request after request, for one device after the other. */
void replay_delivery(struct connection *c, uint64_t serial) {
    struct tally *tally = &publisher_ledger.tally;
    uint64_t devices = (uint64_t)options.devices, expected = FIRST_SERIAL + device_of(c) + devices * c->replayed;
    if (serial < FIRST_SERIAL || (serial - FIRST_SERIAL) % devices != device_of(c)) tally->unknown++;
    else if (serial < expected || c->replayed == (unsigned)options.replayed) tally->delivered_twice++;
    else if (serial > expected) tally->deliveries_out_of_order++;
    else {
        c->replayed++;
        tally->delivered++;
        tally->undelivered--;
        last_at = now_ns();
    }
}

/* Each goes on by itself: opened, it sends its setup messages at once. */
static void set_up_opened(void) {
    for (unsigned i = 0; state_count[STATE_OPEN] && i < connection_count; i++)
        if (connections[i].state == STATE_OPEN) session_setup(&connections[i]);
}

static void serve_all(void) {
    const struct tally *tally = &publisher_ledger.tally;
    uint64_t seen = 0, since = now_ns();
    for (unsigned next = 0; tally->undelivered;) {
        unsigned opening = state_count[STATE_CONNECTING] + state_count[STATE_HANDSHAKE];
        for (; next < connection_count && opening < (unsigned)options.opening; opening++) connection_start(&connections[next++]);
        connections_turn(10, NULL);
        set_up_opened();
        uint64_t progress = tally->delivered + state_count[STATE_READY] + state_count[STATE_SETUP], now = now_ns();
        if (progress != seen) since = now;
        seen = progress;
        if (now - since > ns(options.patience)) return;
    }
}

static void linger(void) {
    for (uint64_t end = now_ns() + ns(options.linger); now_ns() < end;) connections_turn(10, NULL);
}

int replay_run(struct results *results) {
    struct tally *tally = &publisher_ledger.tally;
    struct span *span = &results->span;
    tally->undelivered = (uint64_t)connection_count * (uint64_t)options.replayed;
    uint64_t start = now_ns();
    double own = own_cpu(), server = process_cpu(options.pid);
    serve_all();
    span->seconds = (double)(last_at - start) / 1e9;
    span->own_cpu = own_cpu() - own;
    span->server_cpu = process_cpu(options.pid) - server;
    span->delivered = tally->delivered;
    run_started = true;
    linger();
    results->lost = lost_count[ROLE_SUBSCRIBER];
    results->clean = ledger_clean(&publisher_ledger, false) && !results->lost && last_at;
    report_replay(results);
    return results->clean ? EXIT_CLEAN : EXIT_LOSS;
}
