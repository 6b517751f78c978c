#include "fifo.h"

#include <string.h>

void fifo_put(struct fifo *f, uint64_t serial) { buffer_put(&f->serials, &serial, sizeof serial); }

uint64_t fifo_take(struct fifo *f) {
    uint64_t serial = 0;
    if (!buffer_length(&f->serials)) return 0;
    memcpy(&serial, buffer_data(&f->serials), sizeof serial);
    buffer_take(&f->serials, sizeof serial);
    return serial;
}
