/* Bytes that wait: written at the end, taken from the start. */
#ifndef BUFFER_H
#define BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *bytes;
    size_t start, end, capacity;
};

static inline size_t buffer_length(const struct buffer *b) { return b->end - b->start; }
static inline uint8_t *buffer_data(const struct buffer *b) { return b->bytes + b->start; }

/* Make room for that many bytes at the end and say where; buffer_put counts them as written, this does not. */
uint8_t *buffer_room(struct buffer *b, size_t length);
void buffer_put(struct buffer *b, const void *bytes, size_t length);
void buffer_take(struct buffer *b, size_t length);
void buffer_free(struct buffer *b);

#endif
