/* One TCP connection: opened, read, written, watched by epoll. What its bytes mean is the protocol's affair. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "ledger.h"
#include "template.h"

enum role { ROLE_PUBLISHER, ROLE_SUBSCRIBER, ROLE_SLOW, ROLE_READER, ROLE_COUNT };
enum state { STATE_NEW, STATE_CONNECTING, STATE_HANDSHAKE, STATE_OPEN, STATE_SETUP, STATE_READY, STATE_LOST };

struct connection {
    int fd;
    enum role role;
    enum state state;
    unsigned number;           /* among all */
    unsigned index;            /* among those of its role */
    unsigned setup_done;
    unsigned in_flight;        /* requests that are not closed */
    unsigned replayed;         /* stored messages that came, in mode replay */
    bool wants_write, dirty;
    struct buffer in, out;
    struct template request, *others; /* `others`: of the other kinds of requests in a mix; NULL without one */
    struct ledger *ledger;     /* of a publisher or reader its own, of a subscriber that of the publishers */
    void *extra;               /* the protocol's */
    void *tls;                 /* of the TLS library; NULL in clear */
};

extern struct connection *connections;
extern unsigned connection_count, connections_of[ROLE_COUNT];
extern unsigned lost_count[ROLE_COUNT], state_count[STATE_LOST + 1];
extern bool run_started;

void connections_prepare(void);
struct connection *connection_of(enum role role, unsigned index);
void connection_state(struct connection *c, enum state state);
void connection_start(struct connection *c);

/* Send what waits in `out`, as far as the kernel takes it. */
void connection_flush(struct connection *c);

/* To be pumped and flushed when the events of this turn are done. */
void connection_touch(struct connection *c);

/* The end of it: before the run this ends the program, in it it is counted. */
void connection_lost(struct connection *c, const char *reason);

/* Wait so long at most for events and treat them; then `pump` is called for each touched connection, which is flushed after it. */
void connections_turn(int milliseconds, void (*pump)(struct connection *c));

/* Slow subscribers take so many bytes each from their sockets. */
void slow_read(size_t bytes);

/* See which slow subscribers were closed behind the bytes that they left unread. */
unsigned slow_closed(void);

#endif
