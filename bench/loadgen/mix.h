/*
 * Traffic as in the field: most requests of publishers are of one kind, some are commands, some ask for something. A command is delivered
 * to the connection of its device, which answers it with an update, and that is delivered to the connection that sent the command.
 */
#ifndef MIX_H
#define MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "ledger.h"

/* Updates of commands, which devices send. */
extern struct ledger update_ledger;

void mix_prepare(void);

/* Which kind of request has that serial: the kinds take turns in their shares. */
enum request_kind mix_kind(uint64_t serial);

/* The device that a request concerns. A command is for a device of another connection. */
unsigned mix_device(const struct ledger *l, uint64_t serial);

/* Take a message for a publisher if it is an event or the answer to an update; false when it is neither. */
bool mix_message(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now);

#endif
