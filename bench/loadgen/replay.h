/* Mode replay: subscribers that come back, and get what was stored for them. */
#ifndef REPLAY_H
#define REPLAY_H

#include "connection.h"
#include "report.h"

/* Returns the exit status. */
int replay_run(struct results *results);

/* A stored message for a subscriber. */
void replay_delivery(struct connection *c, uint64_t serial);

#endif
