#include "run.h"

#include "common.h"
#include "connection.h"
#include "load.h"
#include "mix.h"
#include "options.h"
#include "process.h"
#include "replay.h"
#include "report.h"
#include "session.h"

static struct results results;

/* Time without progress. */
struct patience {
    uint64_t seen, since;
};

static bool exhausted(struct patience *p, uint64_t progress) {
    uint64_t now = now_ns();
    if (progress != p->seen || !p->since) *p = (struct patience){progress, now};
    return now - p->since > ns(options.patience);
}

/* Subscribers and readers first: they must be there before anything is published. */
static struct connection *in_opening_order(unsigned place) {
    return &connections[(place + connections_of[ROLE_PUBLISHER]) % connection_count];
}

static unsigned handshaken(void) { return state_count[STATE_OPEN] + state_count[STATE_SETUP] + state_count[STATE_READY]; }

static void do_handshakes(void) {
    struct patience patience = {0};
    uint64_t start = now_ns();
    for (unsigned next = 0; handshaken() < connection_count;) {
        while (next < connection_count && next - handshaken() < (unsigned)options.opening) connection_start(in_opening_order(next++));
        connections_turn(10, NULL);
        if (exhausted(&patience, handshaken())) die("only %u of %u connections were opened", handshaken(), connection_count);
    }
    results.handshake_seconds = (double)(now_ns() - start) / 1e9;
}

static unsigned setup_progress(void) {
    unsigned sum = 0;
    for (unsigned i = 0; i < connection_count; i++) sum += connections[i].setup_done;
    return sum + state_count[STATE_READY];
}

static void do_setup(void) {
    struct patience patience = {0};
    uint64_t start = now_ns();
    for (unsigned next = 0; state_count[STATE_READY] < connection_count;) {
        while (next < connection_count && state_count[STATE_SETUP] < (unsigned)options.opening) session_setup(in_opening_order(next++));
        connections_turn(10, NULL);
        if (exhausted(&patience, setup_progress()))
            die("only %u of %u connections had their setup messages answered", state_count[STATE_READY], connection_count);
    }
    results.open_seconds = results.handshake_seconds + (double)(now_ns() - start) / 1e9;
}

static void open_all(void) {
    results.memory_before = process_memory(options.pid);
    do_handshakes();
    results.memory_handshaken = process_memory(options.pid);
    do_setup();
    run_started = true;
}

static unsigned lost(void) { return lost_count[ROLE_PUBLISHER] + lost_count[ROLE_SUBSCRIBER] + lost_count[ROLE_READER]; }

static void read_slowly(void) {
    enum { PARTS = 20 }; /* per second */
    static uint64_t next;
    if (!options.slow_bytes || now_ns() < next) return;
    slow_read((size_t)options.slow_bytes / PARTS + 1);
    next = now_ns() + ns(1.0 / PARTS);
}

static bool nothing_outstanding(void) { return ledger_complete(&publisher_ledger) && ledger_complete(&reader_ledger) && ledger_complete(&update_ledger); }

/* Load until then; false when the server lost a connection or answers nothing any more. */
static bool load_until(uint64_t end) {
    struct patience patience = {0};
    while (now_ns() < end && !load_sent_all()) {
        load_turn();
        read_slowly();
        if (nothing_outstanding()) patience.since = 0;
        if (lost() || exhausted(&patience, load_progress())) return false;
    }
    return true;
}

static struct span snapshot(void) {
    return (struct span){(double)now_ns() / 1e9, own_cpu(), process_cpu(options.pid), process_cpu(options.second_pid),
                         publisher_ledger.tally.sent, publisher_ledger.tally.answered, publisher_ledger.tally.delivered, reader_ledger.tally.answered,
                         update_ledger.tally.answered};
}

static struct span difference(struct span from, struct span to) {
    return (struct span){to.seconds - from.seconds, to.own_cpu - from.own_cpu, to.server_cpu - from.server_cpu,
                         to.second_cpu - from.second_cpu, to.sent - from.sent,
                         to.answered - from.answered, to.delivered - from.delivered, to.reader_answered - from.reader_answered, to.updated - from.updated};
}

static bool measure(void) {
    if (!load_until(now_ns() + ns(options.warm))) return false;
    struct span start = snapshot();
    load.measuring = true;
    bool alive = load_until(now_ns() + ns(options.secs));
    load.measuring = false;
    results.span = difference(start, snapshot());
    return alive;
}

/* What is outstanding comes in; then a moment for what would come twice. */
static void drain(void) {
    struct patience patience = {0};
    load.sending = false;
    while (!nothing_outstanding() && !lost() && !exhausted(&patience, load_progress())) {
        load_turn();
        read_slowly();
    }
    for (uint64_t end = now_ns() + ns(options.linger); now_ns() < end;) load_turn();
}

/* The beginning of a message whose end did not come is nothing that was asked for. */
static void count_remains(void) {
    for (unsigned i = 0; i < connection_count; i++) {
        struct connection *c = &connections[i];
        if (c->state != STATE_READY || c->role == ROLE_SLOW || !buffer_length(&c->in)) continue;
        c->ledger->tally.unknown++;
        session_complain(c, "part of a message at the end", buffer_data(&c->in), buffer_length(&c->in));
    }
}

static int run_load(void) {
    load_start();
    bool alive = measure();
    drain();
    count_remains();
    results.memory_after = process_memory(options.pid);
    results.slow_closed = slow_closed();
    results.lost = lost();
    results.clean = alive && !results.lost && ledger_clean(&publisher_ledger, options.any_order)
                    && ledger_clean(&reader_ledger, options.any_order) && ledger_clean(&update_ledger, options.any_order);
    report_load(&results);
    return results.clean ? EXIT_CLEAN : EXIT_LOSS;
}

static int run_idle(void) {
    struct span start = snapshot();
    for (uint64_t end = now_ns() + ns(options.hold); now_ns() < end;) connections_turn(10, NULL);
    results.span = difference(start, snapshot());
    results.memory_after = process_memory(options.pid);
    results.lost = lost() + lost_count[ROLE_SLOW];
    results.clean = !results.lost;
    report_idle(&results);
    return results.clean ? EXIT_CLEAN : EXIT_LOSS;
}

int run(void) {
    if (options.mode == MODE_REPLAY) return replay_run(&results);
    open_all();
    return options.mode == MODE_IDLE ? run_idle() : run_load();
}
