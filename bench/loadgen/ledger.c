#include "ledger.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "template.h"

/* Unfinished requests are held in a ring that grows; beyond this, sending waits. */
enum { MOST_SLOTS = 1 << 22 };
#define MOST_BYTES ((uint64_t)1 << 30)

static uint64_t slot_bytes(const struct ledger *l) { return sizeof(struct request) + l->words * sizeof(uint64_t); }

static void allocate(struct ledger *l, uint64_t slots) {
    l->slot_count = slots;
    l->requests = need(slots, sizeof *l->requests);
    l->received = need(slots * l->words, sizeof *l->received);
    /* An empty slot is a finished request. */
    for (uint64_t i = 0; i < slots; i++) l->requests[i].answered = true;
}

void ledger_prepare(struct ledger *l, uint64_t in_flight) {
    unsigned sharing = l->to_all ? l->subscribers : (l->subscribers + l->devices - 1) / l->devices;
    uint64_t slots = 1024;
    if (l->kind_of && sharing < EVENT_COUNT) sharing = EVENT_COUNT;
    l->words = (sharing + 63) / 64;
    l->next = FIRST_SERIAL;
    while (slots < 4 * in_flight && slots < MOST_SLOTS) slots *= 2;
    allocate(l, slots);
    if ((uint64_t)l->subscribers * l->owners > (uint64_t)1 << 28)
        die("%u subscribers times %u publishers are too many to follow the order of each pair", l->subscribers, l->owners);
    l->last_answer = need(l->owners, sizeof *l->last_answer);
    l->last_delivery = need((size_t)l->subscribers * l->owners, sizeof *l->last_delivery);
}

static struct request *slot_of(const struct ledger *l, uint64_t serial) { return &l->requests[serial & (l->slot_count - 1)]; }
static uint64_t *received_by(const struct ledger *l, uint64_t serial) { return &l->received[(serial & (l->slot_count - 1)) * l->words]; }
static bool finished(const struct request *r) { return r->answered && !r->missing; }

static bool grow(struct ledger *l) {
    struct ledger old = *l;
    if (old.slot_count * 2 > MOST_SLOTS || old.slot_count * 2 * slot_bytes(l) > MOST_BYTES) return false;
    allocate(l, old.slot_count * 2);
    for (uint64_t i = 0; i < old.slot_count; i++) {
        if (!old.requests[i].serial) continue;
        uint64_t serial = old.requests[i].serial;
        *slot_of(l, serial) = old.requests[i];
        memcpy(received_by(l, serial), &old.received[i * l->words], l->words * sizeof(uint64_t));
    }
    free(old.requests);
    free(old.received);
    return true;
}

static enum request_kind kind_of(const struct ledger *l, uint64_t serial) { return l->kind_of ? l->kind_of(serial) : KIND_PLAIN; }

static uint32_t receivers(const struct ledger *l, uint64_t serial, unsigned device) {
    enum request_kind kind = kind_of(l, serial);
    if (kind != KIND_PLAIN) return kind == KIND_COMMAND ? EVENT_COUNT : 0;
    if (l->to_all) return l->subscribers;
    return l->subscribers / l->devices + (device < l->subscribers % l->devices);
}

uint64_t ledger_send(struct ledger *l, unsigned owner, uint64_t due, bool measured) {
    while (!finished(slot_of(l, l->next)))
        if (!grow(l)) return 0;
    uint64_t serial = l->next++;
    struct request *r = slot_of(l, serial);
    unsigned device = ledger_device(l, serial);
    *r = (struct request){.serial = serial, .due = due, .owner = owner, .device = device, .missing = receivers(l, serial, device),
                          .answered = !l->answers_expected, .measured = measured};
    memset(received_by(l, serial), 0, l->words * sizeof(uint64_t));
    l->tally.sent++;
    l->tally.unanswered += l->answers_expected;
    l->tally.undelivered += r->missing;
    return serial;
}

static void close_if_due(struct ledger *l, struct request *r) {
    if (r->closed || (l->close_by_answer && !r->answered) || (l->close_by_delivery && r->missing)) return;
    r->closed = true;
    l->closed(r->owner);
}

static bool ever_sent(const struct ledger *l, uint64_t serial) { return serial >= FIRST_SERIAL && serial < l->next; }

static void count_order(uint32_t *last, uint64_t serial, uint64_t *out_of_order) {
    uint32_t place = (uint32_t)(serial - FIRST_SERIAL + 1);
    if (place < *last) ++*out_of_order;
    else *last = place;
}

void ledger_answer(struct ledger *l, unsigned owner, uint64_t serial, uint64_t now, bool error) {
    struct request *r = slot_of(l, serial);
    l->tally.errors += error;
    if (!ever_sent(l, serial) || (r->serial == serial && r->owner != owner)) l->tally.unknown++;
    else if (r->serial != serial || r->answered) l->tally.answered_twice++; /* a slot is given away only when finished */
    else {
        r->answered = true;
        l->tally.answered++;
        l->tally.unanswered--;
        count_order(&l->last_answer[owner], serial, &l->tally.answers_out_of_order);
        if (r->measured) histogram_add(&l->answer_latency, now - r->due);
        close_if_due(l, r);
    }
}

/* The request, if that place had not received it yet; NULL after counting what is wrong. */
static struct request *received(struct ledger *l, unsigned place, uint64_t serial, uint64_t now) {
    struct request *r = slot_of(l, serial);
    uint64_t bit = (uint64_t)1 << (place & 63), *word = received_by(l, serial) + place / 64;
    if (r->serial != serial || (*word & bit)) {
        l->tally.delivered_twice++;
        return NULL;
    }
    *word |= bit;
    r->missing--;
    l->tally.delivered++;
    l->tally.undelivered--;
    if (r->measured) histogram_add(&l->delivery_latency, now - r->due);
    return r;
}

void ledger_delivery(struct ledger *l, unsigned subscriber, uint64_t serial, uint64_t now) {
    unsigned place = l->to_all ? subscriber : subscriber / l->devices;
    bool meant = ever_sent(l, serial) && kind_of(l, serial) == KIND_PLAIN;
    if (!meant || (!l->to_all && ledger_device(l, serial) != subscriber % l->devices)) {
        l->tally.unknown++;
        return;
    }
    struct request *r = received(l, place, serial, now);
    if (!r) return;
    count_order(&l->last_delivery[(size_t)subscriber * l->owners + r->owner], serial, &l->tally.deliveries_out_of_order);
    if (!r->missing) close_if_due(l, r);
}

void ledger_event(struct ledger *l, unsigned event, bool right, unsigned owner, uint64_t serial, uint64_t now) {
    struct request *r = slot_of(l, serial);
    if (event == EVENT_UPDATE) right = r->serial != serial || r->owner == owner;
    if (!ever_sent(l, serial) || kind_of(l, serial) != KIND_COMMAND || !right) {
        l->tally.unknown++;
        return;
    }
    r = received(l, event, serial, now);
    if (r && !r->missing) close_if_due(l, r);
}

bool ledger_complete(const struct ledger *l) { return !l->tally.unanswered && !l->tally.undelivered; }

bool ledger_clean(const struct ledger *l, bool any_order) {
    const struct tally *t = &l->tally;
    bool ordered = any_order || !(t->answers_out_of_order || t->deliveries_out_of_order);
    return ledger_complete(l) && ordered && !(t->errors || t->answered_twice || t->delivered_twice || t->unknown);
}
