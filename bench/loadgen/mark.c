#define _GNU_SOURCE
#include "mark.h"

#include <string.h>

struct mark mark_of(const char *text) {
    struct mark m = {0};
    if (!text || !*text) return m;
    const char *colon = strrchr(text, ':');
    m.head = text;
    m.head_length = strlen(text);
    if (colon && colon != text) {
        m.colon = true;
        m.head_length = (size_t)(colon - text);
        m.tail = colon + 1;
        while (*m.tail == ' ') m.tail++;
        m.tail_length = strlen(m.tail);
    }
    return m;
}

static const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

/* What follows the mark if it stands here, else NULL. The tail of a number's mark may leave the quote out, or have it too much. */
static const uint8_t *after(const struct mark *m, const uint8_t *at, const uint8_t *end, bool number) {
    if ((size_t)(end - at) < m->head_length || memcmp(at, m->head, m->head_length)) return NULL;
    at += m->head_length;
    if (m->colon) {
        at = skip_blanks(at, end);
        if (at == end || *at != ':') return NULL;
        at = skip_blanks(at + 1, end);
    }
    if (number && m->colon && (!m->tail_length || (m->tail_length == 1 && *m->tail == '"'))) return at + (at < end && *at == '"');
    if ((size_t)(end - at) < m->tail_length || (m->tail_length && memcmp(at, m->tail, m->tail_length))) return NULL;
    return at + m->tail_length;
}

static const uint8_t *next_head(const struct mark *m, const uint8_t *at, const uint8_t *end) {
    return at < end ? memmem(at, (size_t)(end - at), m->head, m->head_length) : NULL;
}

bool mark_in(struct mark *m, const uint8_t *bytes, size_t length) {
    const uint8_t *end = bytes + length;
    if (m->hint < length && after(m, bytes + m->hint, end, false)) return true;
    for (const uint8_t *at = bytes; (at = next_head(m, at, end)); at++) {
        if (!after(m, at, end, false)) continue;
        m->hint = (size_t)(at - bytes);
        return true;
    }
    return false;
}

static bool digits(const uint8_t *at, const uint8_t *end, uint64_t *number) {
    const uint8_t *first = at;
    uint64_t value = 0;
    while (at < end && at - first < 19 && *at >= '0' && *at <= '9') value = value * 10 + (uint64_t)(*at++ - '0');
    *number = value;
    return at > first;
}

bool mark_number(struct mark *m, const uint8_t *bytes, size_t length, uint64_t *number) {
    const uint8_t *end = bytes + length, *found;
    if (m->hint < length && (found = after(m, bytes + m->hint, end, true)) && digits(found, end, number)) return true;
    for (const uint8_t *at = bytes; (at = next_head(m, at, end)); at++) {
        found = after(m, at, end, true);
        if (!found || !digits(found, end, number)) continue;
        m->hint = (size_t)(at - bytes);
        return true;
    }
    return false;
}
