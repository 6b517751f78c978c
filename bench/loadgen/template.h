/* A request that is built once; only the digits in it change from one to the next. */
#ifndef TEMPLATE_H
#define TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

/* Widths of {n}, {d} and {t}. A serial has no leading nought, so that it may stand in JSON as a number too. */
enum { SERIAL_DIGITS = 10, DEVICE_DIGITS = 6, TIME_DIGITS = 16, TEMPLATE_FIELDS = 16 };
#define FIRST_SERIAL 1000000000u

enum field_kind { FIELD_SERIAL, FIELD_DEVICE, FIELD_TIME };

struct template {
    struct buffer frame;
    struct { size_t at; enum field_kind kind; } fields[TEMPLATE_FIELDS];
    unsigned field_count;
    uint8_t mask[4];
    size_t masked_from; /* where the mask of a WebSocket frame begins to count */
};

/* Append text; {c} becomes `connection`, the other fields are remembered and filled by template_fill. */
void template_text(struct template *t, const char *text, unsigned connection);

/* Append another template with its fields. */
void template_join(struct template *t, const struct template *other);

/* Mask everything from there on, and what template_fill writes there. */
void template_mask(struct template *t, size_t from, const uint8_t mask[4]);

void template_fill(struct template *t, uint64_t serial, unsigned device, uint64_t now);

/* Whether these bytes, as many as the frame has, are the frame but for its fields. Only without a mask. */
bool template_matches(const struct template *t, const uint8_t *bytes);

/* Expand a text that is used once; the bytes are the caller's. */
struct buffer template_once(const char *text, unsigned connection, unsigned device, uint64_t serial);

#endif
