/*
 * Which request is answered, and by whom it was received. Every request has a serial; the ledger knows it from the moment when it
 * is sent until nothing of it is missing, and tells what comes twice, too much or in another order than it was sent.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"

enum request_kind { KIND_PLAIN, KIND_COMMAND, KIND_ASK, KIND_COUNT };
enum { EVENT_COMMAND, EVENT_UPDATE, EVENT_COUNT }; /* the deliveries of a command */

struct request {
    uint64_t serial, due;
    uint32_t owner, device;
    uint32_t missing; /* deliveries */
    bool answered, closed, measured;
};

struct tally {
    uint64_t sent, answered, delivered;
    uint64_t errors, answered_twice, delivered_twice, unknown, answers_out_of_order, deliveries_out_of_order;
    uint64_t unanswered, undelivered; /* as of now */
};

struct ledger {
    unsigned owners, subscribers, devices;
    bool scatter;                    /* devices do not come in the order of their numbers */
    bool to_all;                     /* each subscriber gets everything, else what its device sends */
    bool close_by_answer, close_by_delivery;
    bool answers_expected;
    enum request_kind (*kind_of)(uint64_t serial); /* NULL: all are plain */
    void (*closed)(unsigned owner);  /* its request no longer counts as in flight */

    uint64_t next, slot_count, words;
    struct request *requests;        /* by serial modulo slot_count, a power of two */
    uint64_t *received;              /* `words` for each slot, one bit for each subscriber that is to have it */
    uint32_t *last_answer, *last_delivery;
    struct tally tally;
    struct histogram answer_latency, delivery_latency;
};

/* The members above the blank line must be set. */
void ledger_prepare(struct ledger *l, uint64_t in_flight);

/* The serial of a new request, or 0 when too many are unfinished to remember another. */
uint64_t ledger_send(struct ledger *l, unsigned owner, uint64_t due, bool measured);

/* A prime: unless it divides the number of devices, each of them still has its turn. */
enum { STRIDE = 7919 };

static inline unsigned ledger_device(const struct ledger *l, uint64_t serial) {
    return (unsigned)((l->scatter ? serial * STRIDE : serial) % l->devices);
}

void ledger_answer(struct ledger *l, unsigned owner, uint64_t serial, uint64_t now, bool error);
void ledger_delivery(struct ledger *l, unsigned subscriber, uint64_t serial, uint64_t now);

/* A delivery of a command to somebody who publishes; `right` when it is their device. An update goes to the owner of the command. */
void ledger_event(struct ledger *l, unsigned event, bool right, unsigned owner, uint64_t serial, uint64_t now);

bool ledger_complete(const struct ledger *l);

/* Nothing was lost, doubled, unknown or an error; `any_order` lets pass what only came in another order. */
bool ledger_clean(const struct ledger *l, bool any_order);

#endif
