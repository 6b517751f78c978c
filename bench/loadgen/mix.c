#define _GNU_SOURCE
#include "mix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "load.h"
#include "mark.h"
#include "options.h"
#include "protocol.h"
#include "session.h"

struct ledger update_ledger;

static struct mark event, command_event, command_id, update_id, serial_mark, error_mark;

static void update_closed(unsigned owner) { (void)owner; }

void mix_prepare(void) {
    event = mark_of(options.deliver);
    command_event = mark_of(options.command_event);
    command_id = mark_of(options.command_id);
    update_id = mark_of(options.update_id);
    serial_mark = mark_of(options.delivery_id);
    error_mark = mark_of(options.error);
    update_ledger = (struct ledger){.owners = (unsigned)options.publishers, .devices = 1, .close_by_answer = true, .answers_expected = true,
                                    .closed = update_closed};
    ledger_prepare(&update_ledger, options.command ? 4096 : 0);
}

enum request_kind mix_kind(uint64_t serial) {
    /* Scattered, so that no kind keeps to certain devices or connections. */
    unsigned place = (uint32_t)((uint32_t)serial * 2654435761u) / 42949673u;
    if (place < (unsigned)options.command_share) return KIND_COMMAND;
    return place < (unsigned)(options.command_share + options.ask_share) ? KIND_ASK : KIND_PLAIN;
}

unsigned mix_device(const struct ledger *l, uint64_t serial) {
    unsigned device = ledger_device(l, serial);
    return mix_kind(serial) == KIND_COMMAND ? (device + l->devices / 2 + 1) % l->devices : device;
}

/* The text of the update with the id of the command in it. */
static char *text_of_update(uint64_t id) {
    const char *place = strstr(options.update, "{i}");
    char *text;
    if (asprintf(&text, "%.*s%llu%s", (int)(place - options.update), options.update, (unsigned long long)id, place + 3) < 0)
        die("out of memory");
    return text;
}

static void send_update(struct connection *c, unsigned device, uint64_t id, uint64_t now) {
    uint64_t serial = ledger_send(&update_ledger, c->index, now, load.measuring);
    if (!serial) die("too many updates of commands are not answered");
    char *text = text_of_update(id);
    struct buffer message = template_once(text, c->number, device, serial);
    websocket_send(c, message.bytes, message.end);
    connection_touch(c);
    buffer_free(&message);
    free(text);
}

static void on_event(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    uint64_t serial, id;
    bool is_command = mark_in(&command_event, bytes, length);
    if (!mark_number(&serial_mark, bytes, length, &serial)) session_unknown(c, "no serial in the event", bytes, length);
    else if (is_command && !mark_number(&command_id, bytes, length, &id)) session_unknown(c, "no id in the command", bytes, length);
    else if (is_command) {
        unsigned device = mix_device(&publisher_ledger, serial);
        ledger_event(&publisher_ledger, EVENT_COMMAND, device % (unsigned)options.publishers == c->index, c->index, serial, now);
        send_update(c, device, id, now);
    } else ledger_event(&publisher_ledger, EVENT_UPDATE, true, c->index, serial, now);
}

bool mix_message(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    uint64_t serial;
    if (mark_in(&event, bytes, length)) {
        on_event(c, bytes, length, now);
        return true;
    }
    if (!mark_number(&update_id, bytes, length, &serial)) return false;
    bool bad = mark_set(&error_mark) && mark_in(&error_mark, bytes, length);
    if (bad) session_complain(c, "error answer", bytes, length);
    ledger_answer(&update_ledger, c->index, serial, now, bad);
    return true;
}
