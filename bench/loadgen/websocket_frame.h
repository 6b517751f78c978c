/* The head of a WebSocket frame, RFC 6455 section 5.2. */
#ifndef WEBSOCKET_FRAME_H
#define WEBSOCKET_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum opcode { OPCODE_CONTINUATION = 0, OPCODE_TEXT = 1, OPCODE_BINARY = 2, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };
enum { FRAME_FINAL = 0x80, FRAME_MASKED = 0x80, FRAME_HEAD_SPACE = 14 };

/* The answer to the key of RFC 6455 section 1.3, which is the only one that the generator sends. */
#define WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct frame {
    unsigned opcode, final, masked, reserved;
    uint8_t mask[4];
    size_t head, length;
};

/* Read a head; 0 when more bytes are needed, for the whole frame too. */
static inline int frame_read(struct frame *f, const uint8_t *bytes, size_t available) {
    if (available < 2) return 0;
    f->opcode = bytes[0] & 15;
    f->final = bytes[0] >> 7;
    f->reserved = bytes[0] >> 4 & 7;
    f->masked = bytes[1] >> 7;
    f->length = bytes[1] & 127;
    f->head = 2;
    unsigned more = f->length == 126 ? 2 : f->length == 127 ? 8 : 0;
    if (available < f->head + more) return 0;
    if (more) f->length = 0;
    while (more--) f->length = f->length << 8 | bytes[f->head++];
    if (f->masked) {
        if (available < f->head + 4) return 0;
        for (int i = 0; i < 4; i++) f->mask[i] = bytes[f->head++];
    }
    return available - f->head >= f->length;
}

/* Write a head, masked when there is a mask; returns its length. */
static inline size_t frame_head(uint8_t *to, unsigned opcode, size_t length, const uint8_t *mask) {
    size_t at = 2, more = length < 126 ? 0 : length < 65536 ? 2 : 8;
    to[0] = (uint8_t)(FRAME_FINAL | opcode);
    to[1] = (uint8_t)((mask ? FRAME_MASKED : 0) | (more ? (more == 2 ? 126 : 127) : length));
    while (more--) to[at++] = (uint8_t)((uint64_t)length >> (8 * more));
    for (int i = 0; mask && i < 4; i++) to[at++] = mask[i];
    return at;
}

#endif
