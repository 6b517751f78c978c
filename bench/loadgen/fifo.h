/* Serials of requests whose answers have none: they are answered in the order in which they were sent. */
#ifndef FIFO_H
#define FIFO_H

#include <stdint.h>

#include "buffer.h"

struct fifo {
    struct buffer serials;
};

void fifo_put(struct fifo *f, uint64_t serial);

/* The serial that was put first, or 0: there is none. */
uint64_t fifo_take(struct fifo *f);

#endif
