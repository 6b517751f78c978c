#include "report.h"

#include <math.h>
#include <stdio.h>

#include "connection.h"
#include "load.h"
#include "mix.h"
#include "options.h"

static bool clean;
static const char *separator;

static void name(const char *text) {
    printf("%s\"%s\":", separator, text);
    separator = ",";
}

static void text(const char *key, const char *value) {
    name(key);
    printf("\"%s\"", value);
}

static void count(const char *key, uint64_t value) {
    name(key);
    printf("%llu", (unsigned long long)value);
}

/* A figure of a run that lost something must not be used: it is not there. */
static void figure(const char *key, double value, int decimals) {
    name(key);
    if (clean && isfinite(value)) printf("%.*f", decimals, value);
    else printf("null");
}

static void quantiles(const char *key, const struct histogram *h) {
    static const struct { const char *key; double part; } PARTS[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p99.9", .999}};
    name(key);
    if (!clean || !h->count) {
        printf("null");
        return;
    }
    printf("{\"n\":%llu,\"mean\":%.1f", (unsigned long long)h->count, h->sum / (double)h->count / 1e3);
    for (unsigned i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
        printf(",\"%s\":%.1f", PARTS[i].key, histogram_quantile(h, PARTS[i].part) / 1e3);
    printf(",\"max\":%.1f}", (double)h->maximum / 1e3);
}

static void begin(const struct results *r) {
    clean = r->clean;
    separator = "{";
    text("mode", mode_names[options.mode]);
    text("proto", protocol_names[options.protocol]);
    name("clean");
    printf(clean ? "true" : "false");
    count("pubs", connections_of[ROLE_PUBLISHER]);
    count("subs", connections_of[ROLE_SUBSCRIBER]);
    count("slow", connections_of[ROLE_SLOW]);
    count("readers", connections_of[ROLE_READER]);
    count("devices", (uint64_t)options.devices);
}

static void opening(const struct results *r) {
    figure("handshakes_per_s", connection_count / r->handshake_seconds, 0);
    figure("opens_per_s", connection_count / r->open_seconds, 0);
}

static void memory(const struct results *r) {
    double per = connection_count;
    bool known = r->memory_before >= 0 && r->memory_after >= 0;
    figure("rss_before_kb", known ? (double)r->memory_before : NAN, 0);
    figure("rss_after_kb", known ? (double)r->memory_after : NAN, 0);
    figure("kb_per_handshake", known ? (double)(r->memory_handshaken - r->memory_before) / per : NAN, 2);
    figure("kb_per_conn", known ? (double)(r->memory_after - r->memory_before) / per : NAN, 2);
}

void report_idle(const struct results *r) {
    begin(r);
    count("conns", connection_count);
    count("alive", state_count[STATE_READY]);
    opening(r);
    memory(r);
    figure("hold", r->span.seconds, 2);
    figure("gen_cpu", r->span.own_cpu / r->span.seconds, 3);
    figure("server_cpu", options.pid ? r->span.server_cpu / r->span.seconds : NAN, 4);
    count("connections_lost", r->lost);
    puts("}");
}

static void proof(const struct results *r) {
    const struct tally *p = &publisher_ledger.tally, *q = &reader_ledger.tally, *u = &update_ledger.tally;
    count("sent", p->sent + q->sent + u->sent);
    count("answered", p->answered + q->answered + u->answered);
    count("delivered", p->delivered);
    count("unanswered", p->unanswered + q->unanswered + u->unanswered);
    count("answered_twice", p->answered_twice + q->answered_twice + u->answered_twice);
    count("undelivered", p->undelivered);
    count("delivered_twice", p->delivered_twice);
    count("unknown", p->unknown + q->unknown + u->unknown);
    count("errors", p->errors + q->errors + u->errors);
    count("out_of_order", p->deliveries_out_of_order);
    count("answers_out_of_order", p->answers_out_of_order + q->answers_out_of_order + u->answers_out_of_order);
    count("connections_lost", r->lost);
    count("slow_closed", r->slow_closed);
}

void report_replay(const struct results *r) {
    const struct span *s = &r->span;
    begin(r);
    count("conns", connection_count);
    figure("secs", s->seconds, 4);
    figure("deliveries_per_s", (double)s->delivered / s->seconds, 1);
    figure("gen_cpu", s->own_cpu / s->seconds, 3);
    figure("server_cpu", options.pid ? s->server_cpu / s->seconds : NAN, 4);
    proof(r);
    puts("}");
}

void report_load(const struct results *r) {
    const struct span *s = &r->span;
    begin(r);
    text("flow", flow_names[options.flow]);
    count("window", (uint64_t)options.window);
    figure("secs", s->seconds, 3);
    figure("sent_per_s", (double)s->sent / s->seconds, 1);
    figure("acks_per_s", (double)s->answered / s->seconds, 1);
    figure("deliveries_per_s", (double)s->delivered / s->seconds, 1);
    quantiles("ack_us", &publisher_ledger.answer_latency);
    quantiles("deliver_us", &publisher_ledger.delivery_latency);
    figure("reader_acks_per_s", (double)s->reader_answered / s->seconds, 1);
    quantiles("reader_us", &reader_ledger.answer_latency);
    figure("updates_per_s", (double)s->updated / s->seconds, 1);
    quantiles("update_us", &update_ledger.answer_latency);
    figure("gen_cpu", s->own_cpu / s->seconds, 3);
    figure("server_cpu", options.pid ? s->server_cpu / s->seconds : NAN, 3);
    figure("second_cpu", options.second_pid ? s->second_cpu / s->seconds : NAN, 3);
    figure("server_rss_kb", r->memory_after < 0 ? NAN : (double)r->memory_after, 0);
    figure("messages_per_gen_cpu_s", (double)(s->answered + s->delivered + s->reader_answered) / s->own_cpu, 0);
    figure("late_us", options.mode == MODE_RATE ? (double)load.late / 1e3 : NAN, 1);
    opening(r);
    proof(r);
    puts("}");
}
