/* A stream of frames of one length; each comes back as it was. */
#include "options.h"
#include "protocol.h"
#include "session.h"

static void prepare(struct connection *c) { template_text(&c->request, payload_of(c), c->number); }

static void hello(struct connection *c) { connection_state(c, STATE_OPEN); }

static bool setup(struct connection *c, unsigned step) {
    (void)c, (void)step;
    return false;
}

static size_t parse(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    size_t frame = c->request.frame.end, used = 0;
    for (; length - used >= frame; used += frame) {
        if (!frame || !template_matches(&c->request, bytes + used)) {
            /* Where the next frame begins is no longer known. */
            c->ledger->tally.unknown++;
            connection_lost(c, "what came back is not what was sent");
            return length;
        }
        session_message(c, bytes + used, frame, now);
    }
    return used;
}

const struct protocol raw_protocol = {prepare, hello, setup, parse, may_always_send, send_template};
