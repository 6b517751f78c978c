#include "template.h"

#include <stdio.h>
#include <string.h>

#include "common.h"

/* 10^15 and microseconds: sixteen digits without a leading nought, exact as a double. */
#define TIME_BASE 1000000000000000u

static const struct { const char *text; enum field_kind kind; size_t digits; } FIELDS[] = {
    {"{n}", FIELD_SERIAL, SERIAL_DIGITS}, {"{d}", FIELD_DEVICE, DEVICE_DIGITS}, {"{t}", FIELD_TIME, TIME_DIGITS}};

static bool add_field(struct template *t, const char *at) {
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        if (strncmp(at, FIELDS[i].text, 3)) continue;
        if (t->field_count == TEMPLATE_FIELDS) die("more than %d fields in a payload", TEMPLATE_FIELDS);
        t->fields[t->field_count].at = t->frame.end;
        t->fields[t->field_count++].kind = FIELDS[i].kind;
        buffer_put(&t->frame, "1000000000000000", FIELDS[i].digits);
        return true;
    }
    return false;
}

void template_text(struct template *t, const char *text, unsigned connection) {
    char number[16];
    for (const char *at = text; *at;) {
        if (!strncmp(at, "{c}", 3)) buffer_put(&t->frame, number, (size_t)snprintf(number, sizeof number, "%u", connection));
        else if (!add_field(t, at)) {
            buffer_put(&t->frame, at++, 1);
            continue;
        }
        at += 3;
    }
}

void template_join(struct template *t, const struct template *other) {
    size_t shift = t->frame.end;
    buffer_put(&t->frame, other->frame.bytes, other->frame.end);
    for (unsigned i = 0; i < other->field_count; i++) {
        if (t->field_count == TEMPLATE_FIELDS) die("more than %d fields in a payload", TEMPLATE_FIELDS);
        t->fields[t->field_count] = other->fields[i];
        t->fields[t->field_count++].at += shift;
    }
}

void template_mask(struct template *t, size_t from, const uint8_t mask[4]) {
    memcpy(t->mask, mask, 4);
    t->masked_from = from;
    for (size_t i = from; i < t->frame.end; i++) t->frame.bytes[i] ^= mask[(i - from) & 3];
}

static void write_digits(char *to, uint64_t value, size_t count) {
    while (count--) {
        to[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

static void place(struct template *t, size_t at, const char *text, size_t count) {
    uint8_t *to = t->frame.bytes + at;
    size_t from = at - t->masked_from;
    for (size_t i = 0; i < count; i++) to[i] = (uint8_t)text[i] ^ t->mask[(from + i) & 3];
}

void template_fill(struct template *t, uint64_t serial, unsigned device, uint64_t now) {
    char number[SERIAL_DIGITS], other[TIME_DIGITS];
    write_digits(number, serial, SERIAL_DIGITS);
    for (unsigned i = 0; i < t->field_count; i++) {
        size_t at = t->fields[i].at;
        if (t->fields[i].kind == FIELD_SERIAL) place(t, at, number, SERIAL_DIGITS);
        else if (t->fields[i].kind == FIELD_DEVICE) {
            write_digits(other, device, DEVICE_DIGITS);
            place(t, at, other, DEVICE_DIGITS);
        } else {
            write_digits(other, TIME_BASE + now / 1000, TIME_DIGITS);
            place(t, at, other, TIME_DIGITS);
        }
    }
}

bool template_matches(const struct template *t, const uint8_t *bytes) {
    size_t from = 0;
    for (unsigned i = 0; i <= t->field_count; i++) {
        size_t to = i < t->field_count ? t->fields[i].at : t->frame.end;
        if (memcmp(t->frame.bytes + from, bytes + from, to - from)) return false;
        if (i < t->field_count) from = to + FIELDS[t->fields[i].kind].digits;
    }
    return true;
}

struct buffer template_once(const char *text, unsigned connection, unsigned device, uint64_t serial) {
    struct template t = {0};
    template_text(&t, text, connection);
    template_fill(&t, serial, device, now_ns());
    return t.frame;
}
