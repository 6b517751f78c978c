/* When requests are sent: as fast as they are closed, or by the clock. */
#ifndef LOAD_H
#define LOAD_H

#include "connection.h"

extern struct ledger publisher_ledger, reader_ledger;

struct load {
    bool sending, measuring;
    uint64_t late;       /* ns by which the open loop fell behind its schedule at worst, in the measured span */
};
extern struct load load;

/* Build requests and ledgers; after connections_prepare. */
void load_prepare(void);

/* Let every publisher and reader begin. */
void load_start(void);

/* One turn of the loop while there is load, or while what is outstanding comes in. */
void load_turn(void);

/* Whether as many requests were sent as were asked for. */
bool load_sent_all(void);

/* Answers and deliveries so far: what moves while the server is alive. */
uint64_t load_progress(void);

#endif
