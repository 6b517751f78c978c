/* Fixed text by which a message, or a number in it, is found without parsing the whole. */
#ifndef MARK_H
#define MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `"status":"error"` is kept as head `"status"` and tail `"error"`: blanks around its last colon don't matter. */
struct mark {
    const char *head, *tail;
    size_t head_length, tail_length;
    bool colon;
    size_t hint; /* where it was last: messages of one server look alike */
};

/* Of NULL or an empty text comes a mark that is not set. */
struct mark mark_of(const char *text);

static inline bool mark_set(const struct mark *m) { return m->head_length > 0; }

bool mark_in(struct mark *m, const uint8_t *bytes, size_t length);

/* The digits after the mark, quoted or not. False when there are none. */
bool mark_number(struct mark *m, const uint8_t *bytes, size_t length, uint64_t *number);

#endif
