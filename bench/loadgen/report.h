/* The line of JSON. */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>

#include "ledger.h"

struct span {
    double seconds, own_cpu, server_cpu, second_cpu;
    uint64_t sent, answered, delivered, reader_answered, updated;
};

struct results {
    bool clean;
    double handshake_seconds, open_seconds; /* all handshakes; these and all setup messages */
    long memory_before, memory_handshaken, memory_after;
    struct span span;
    unsigned slow_closed, lost;
};

void report_idle(const struct results *r);
void report_replay(const struct results *r);
void report_load(const struct results *r);

#endif
