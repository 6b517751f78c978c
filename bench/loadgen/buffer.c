#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"

uint8_t *buffer_room(struct buffer *b, size_t length) {
    if (b->end + length > b->capacity && b->start) {
        memmove(b->bytes, b->bytes + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->end + length > b->capacity) {
        /* Not doubled from a large start: ten thousand connections have two each. */
        size_t capacity = b->capacity ? b->capacity : 512;
        while (capacity < b->end + length) capacity *= 2;
        b->bytes = realloc(b->bytes, capacity);
        if (!b->bytes) die("no memory for a buffer of %zu bytes", capacity);
        b->capacity = capacity;
    }
    return b->bytes + b->end;
}

void buffer_put(struct buffer *b, const void *bytes, size_t length) {
    if (!length) return;
    memcpy(buffer_room(b, length), bytes, length);
    b->end += length;
}

void buffer_take(struct buffer *b, size_t length) {
    b->start += length;
    if (b->start == b->end) b->start = b->end = 0;
}

void buffer_free(struct buffer *b) {
    free(b->bytes);
    memset(b, 0, sizeof *b);
}
