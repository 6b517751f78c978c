#include "options.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

const char *const mode_names[] = {"throughput", "rate", "idle", "self", "replay", NULL};
const char *const protocol_names[] = {"ws", "mqtt", "raw", "http", "nats", "postgres", NULL};
const char *const flow_names[] = {"ack", "deliver", "both", NULL};

struct options options = {
    .host = "127.0.0.1", .path = "/", .method = "POST", .user = "postgres", .database = "postgres", .publishers = 1, .window = 16, .devices = 1, .warm = 1, .secs = 3, .hold = 2, .patience = 10,
    .linger = 0.1, .opening = 64, .topic = "t/{d}", .qos = 1, .answer_id = "\"requestId\":", .delivery_id = "\"n\":", .reader_window = 16,
    .echo_cpu = -1, .command_share = 5, .ask_share = 5, .command_id = "\"id\":", .update_id = "\"requestId\":\"u",
    .payload = "{\"action\":\"notification/insert\",\"requestId\":\"{n}\",\"deviceId\":\"device-{d}\",\"notification\":"
               "{\"notification\":\"temperature\",\"parameters\":{\"t\":20.5,\"p\":29.92,\"n\":{n}}}}",
};

enum kind { HEADING, NUMBER, REAL, TEXT, TEXTS, CHOICE, FLAG };

struct option {
    enum kind kind;
    const char *name;
    void *target;
    const char *argument, *help;
    double low, high;
    const char *const *choices;
};

#define O(member) &options.member
static const struct option TABLE[] = {
    {HEADING, "What is done", 0, 0, 0, 0, 0, 0},
    {CHOICE, "mode", O(mode), "throughput|rate|idle|self|replay",
     "closed loop; open loop; open and hold; this generator against its own echo server; subscribers that get stored messages", 0, 0,
     mode_names},
    {REAL, "warm", O(warm), "S", "seconds of load that are not measured (1)", 0, 3600, 0},
    {REAL, "secs", O(secs), "S", "seconds that are measured (3)", 0.001, 86400, 0},
    {NUMBER, "requests", O(requests), "N", "stop sooner, after so many requests of publishers in all, warm-up included", 1, 2e9, 0},
    {REAL, "rate", O(rate), "R", "mode rate: requests per second in all; latency counts from when a request was due", 0.001, 1e7, 0},
    {REAL, "hold", O(hold), "S", "mode idle: seconds for which the connections are held (2)", 0, 86400, 0},
    {NUMBER, "replayed", O(replayed), "N", "mode replay: stored messages that each subscriber gets after its setup", 1, 1e6, 0},
    {REAL, "patience", O(patience), "S", "seconds without any progress after which the run is given up (10)", 0.1, 3600, 0},
    {REAL, "linger", O(linger), "S", "seconds in which doubles may still show when all has come (0.1)", 0, 60, 0},
    {TEXT, "pid", O(pid), "P[,P...]", "the server's processes, for server_cpu and memory", 0, 0, 0},
    {TEXT, "second-pid", O(second_pid), "P[,P...]", "the processes of the server at --second-port, for second_cpu", 0, 0, 0},
    {NUMBER, "echo-cpu", O(echo_cpu), "N", "mode self: the core on which the echo server runs", 0, 1023, 0},
    {HEADING, "Where", 0, 0, 0, 0, 0, 0},
    {CHOICE, "proto", O(protocol), "ws|mqtt|raw|http|nats|postgres",
     "WebSocket, MQTT 3.1.1, a stream of frames of one length that is echoed, HTTP/1.1, JetStream, PostgreSQL", 0, 0, protocol_names},
    {TEXT, "host", O(host), "A", "a loopback address, nothing else is accepted (127.0.0.1)", 0, 0, 0},
    {NUMBER, "port", O(port), "N", "must be given, but for mode self", 1, 65535, 0},
    {NUMBER, "second-port", O(second_port), "N", "of a second server: every other connection of each role goes there", 1, 65535, 0},
    {FLAG, "tls", O(tls), "", "over TLS; the certificate is not checked", 0, 0, 0},
    {TEXT, "socket", O(socket), "FILE", "the Unix socket of the server, instead of a port", 0, 0, 0},
    {TEXT, "path", O(path), "S", "of the WebSocket or HTTP request (/)", 0, 0, 0},
    {TEXT, "method", O(method), "S", "http: method (POST); without --payload there is no body", 0, 0, 0},
    {TEXT, "user", O(user), "S", "postgres: who connects (postgres); it must need no password", 0, 0, 0},
    {TEXT, "database", O(database), "S", "postgres: name of the database (postgres)", 0, 0, 0},
    {TEXT, "sub-path", O(sub_path), "S", "the same for subscribers, if it differs", 0, 0, 0},
    {TEXTS, "header", O(headers), "'K: v'", "further line of the WebSocket handshake or HTTP request; repeatable", 0, 0, 0},
    {TEXT, "subprotocol", O(subprotocol), "S", "WebSocket subprotocol to ask for", 0, 0, 0},
    {HEADING, "Who", 0, 0, 0, 0, 0, 0},
    {NUMBER, "pubs", O(publishers), "N", "publishers (1)", 0, 100000, 0},
    {NUMBER, "subs", O(subscribers), "N", "subscribers, each of which must receive everything that is meant for it (0)", 0, 100000, 0},
    {NUMBER, "devices", O(devices), "N",
     "requests go to so many devices in turn; subscriber k follows device k modulo N alone (1)", 1, 999999, 0},
    {FLAG, "scatter", O(scatter), "", "the turn of devices is not in the order of their numbers: the next is far from the last", 0, 0, 0},
    {FLAG, "to-all", O(to_all), "", "each subscriber receives the requests of all devices", 0, 0, 0},
    {NUMBER, "slow", O(slow), "N", "further subscribers that read nothing; they are no part of the proof", 0, 100000, 0},
    {NUMBER, "slow-bytes", O(slow_bytes), "B", "let each of those read so many bytes per second", 0, 1 << 30, 0},
    {NUMBER, "readers", O(readers), "N", "connections that keep requests of another sort in flight, with own figures", 0, 100000, 0},
    {NUMBER, "reader-window", O(reader_window), "W", "requests in flight for each of them (16)", 1, 65535, 0},
    {TEXT, "reader-payload", O(reader_payload), "S|@file", "their request, with {n}; its answer is known by --id", 0, 0, 0},
    {NUMBER, "window", O(window), "W", "requests in flight per publisher (16)", 1, 65535, 0},
    {CHOICE, "flow", O(flow), "ack|deliver|both",
     "what ends a request, so that the next may follow: its answer, all of its deliveries", 0, 0, flow_names},
    {NUMBER, "opening", O(opening), "N", "connections that are being opened at the same time (64)", 1, 10000, 0},
    {HEADING, "What is sent. {n}: serial, ten digits; {d}: device, six digits; {t}: time, sixteen digits; {c}: number of the connection",
     0, 0, 0, 0, 0, 0},
    {TEXT, "payload", O(payload), "S|@file",
     "a request; {n} where the server copies it into the answer, and in what it delivers; postgres: the parameter of the statement", 0, 0, 0},
    {TEXTS, "setup", O(setup), "S|@file", "message of a publisher before the run, answered before the next; repeatable; postgres: the statement to prepare", 0, 0, 0},
    {TEXTS, "sub-setup", O(sub_setup), "S|@file", "the same of a subscriber, also a slow one; {d} is the device that it follows", 0, 0, 0},
    {TEXTS, "reader-setup", O(reader_setup), "S|@file", "the same of a reader (that of publishers)", 0, 0, 0},
    {TEXT, "topic", O(topic), "S", "mqtt: topic of publishers and subscribers (t/{d}); nats: subject of publishers", 0, 0, 0},
    {TEXT, "sub-topic", O(sub_topic), "S", "mqtt: topic filter of subscribers, if it differs", 0, 0, 0},
    {TEXT, "login", O(login), "S", "mqtt: user name; without it there is none, and no password", 0, 0, 0},
    {TEXT, "password", O(password), "S|@file", "mqtt: the password of that user; this server takes an access token as well", 0, 0, 0},
    {NUMBER, "qos", O(qos), "0|1", "mqtt: quality of service (1); with 0 nothing is answered", 0, 1, 0},
    {HEADING, "A mix: some of the publishers' requests are commands, which devices answer with an update, and some ask for something", 0, 0, 0,
     0, 0, 0},
    {TEXT, "command", O(command), "S|@file", "a command for a device of another publisher; its event and its update's must hold --serial", 0, 0, 0},
    {NUMBER, "command-share", O(command_share), "P", "so many of 100 requests are commands (5)", 1, 50, 0},
    {TEXT, "update", O(update), "S|@file", "the update of a command by the publisher that has its device; {i} is the id of the command", 0, 0, 0},
    {TEXT, "ask", O(ask), "S|@file", "the other request", 0, 0, 0},
    {NUMBER, "ask-share", O(ask_share), "P", "so many of 100 requests (5)", 1, 50, 0},
    {FLAG, "own-devices", O(own_devices), "", "publisher k has the devices k, k + --pubs and so on: a --setup with {d} is sent for each", 0, 0, 0},
    {TEXT, "command-event", O(command_event), "S", "text that the event of a command must hold, and that of an update must not", 0, 0, 0},
    {TEXT, "command-id", O(command_id), "S", "text before the id of the command in its event (\"id\":)", 0, 0, 0},
    {TEXT, "update-id", O(update_id), "S", "text before the serial in the answer to an update (\"requestId\":\"u)", 0, 0, 0},
    {HEADING, "How messages are told apart. Marks are text; blanks around their last colon do not matter", 0, 0, 0, 0, 0, 0},
    {TEXT, "id", O(answer_id), "S", "text before the serial in an answer (\"requestId\":); mqtt has packet ids, nats the subject, http and postgres the order", 0, 0, 0},
    {TEXT, "serial", O(delivery_id), "S", "text before the serial in a delivery (\"n\":)", 0, 0, 0},
    {TEXT, "ack", O(ack), "S", "text that every answer must hold", 0, 0, 0},
    {TEXT, "deliver", O(deliver), "S", "text that every delivery must hold", 0, 0, 0},
    {TEXT, "error", O(error), "S", "text that makes an answer an error", 0, 0, 0},
    {TEXT, "setup-ok", O(setup_ok), "S", "text that the answer to each setup message must hold", 0, 0, 0},
    {FLAG, "any-order", O(any_order), "", "count what comes in another order than it was sent, but let it pass", 0, 0, 0},
};
enum { TABLE_LENGTH = sizeof TABLE / sizeof *TABLE };

static void help(void) {
    puts("loadgen --port N [--option value ...]\n\n"
         "Drives a message server from one core and proves by serials that each request was answered once and delivered once to each\n"
         "subscriber. Prints one line of JSON. Status 0: clean. 3: something was lost, doubled, unknown, out of order, or an error: then\n"
         "the figures are null. 2: the run could not be done, and the message says why.");
    for (int i = 0; i < TABLE_LENGTH; i++) {
        char name[64];
        if (TABLE[i].kind == HEADING) {
            printf("\n%s\n", TABLE[i].name);
            continue;
        }
        snprintf(name, sizeof name, "--%s %s", TABLE[i].name, TABLE[i].argument);
        printf("  %-34s %s\n", name, TABLE[i].help);
    }
}

static const char *text_of(const char *value) {
    if (*value != '@') return value;
    FILE *file = fopen(value + 1, "rb");
    if (!file) die("cannot read %s", value + 1);
    enum { LIMIT = 1 << 24 };
    char *text = need(1, LIMIT);
    size_t length = fread(text, 1, LIMIT - 1, file);
    fclose(file);
    while (length && text[length - 1] == '\n') text[--length] = 0;
    return text;
}

static double number_of(const struct option *option, const char *value) {
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !(number >= option->low && number <= option->high) || (option->kind == NUMBER && number != (int)number))
        die("--%s %s: must be a number from %g to %g", option->name, value, option->low, option->high);
    return number;
}

static int choice_of(const struct option *option, const char *value) {
    for (int i = 0; option->choices[i]; i++)
        if (!strcmp(option->choices[i], value)) return i;
    die("--%s %s: must be one of %s", option->name, value, option->argument);
}

static void set(const struct option *option, const char *value) {
    struct texts *texts = option->target;
    switch (option->kind) {
    case NUMBER: *(int *)option->target = (int)number_of(option, value); break;
    case REAL: *(double *)option->target = number_of(option, value); break;
    case TEXT: *(const char **)option->target = text_of(value); break;
    case CHOICE: *(int *)option->target = choice_of(option, value); break;
    case FLAG: *(bool *)option->target = true; break;
    case TEXTS:
        if (texts->count == MOST_TEXTS) die("--%s is given more than %d times", option->name, MOST_TEXTS);
        texts->items[texts->count++] = text_of(value);
        break;
    case HEADING: break;
    }
}

static const struct option *option_named(const char *name, size_t length) {
    for (int i = 0; i < TABLE_LENGTH; i++)
        if (TABLE[i].kind != HEADING && strlen(TABLE[i].name) == length && !strncmp(TABLE[i].name, name, length)) return &TABLE[i];
    die("there is no option --%.*s; --help lists them", (int)length, name);
}

/* Load is for one's own machine: a slip of the finger must not become an attack. */
static void check_host(void) {
    struct in_addr address;
    if (!strcmp(options.host, "localhost")) options.host = "127.0.0.1";
    if (inet_pton(AF_INET, options.host, &address) != 1 || ntohl(address.s_addr) >> 24 != 127)
        die("--host %s: only a loopback address (127.x.y.z) may be put under load", options.host);
}

static bool has(const char *text, const char *what) { return text && strstr(text, what); }

static void check_sense(void) {
    const struct options *o = &options;
    bool self = o->mode == MODE_SELF, idle = o->mode == MODE_IDLE, raw = o->protocol == PROTOCOL_RAW, mqtt = o->protocol == PROTOCOL_MQTT;
    bool ordered = o->protocol == PROTOCOL_HTTP || o->protocol == PROTOCOL_POSTGRES, nats = o->protocol == PROTOCOL_NATS;
    if (!o->port && !self && !o->socket) die("--port is missing");
    if (self && o->tls) die("--mode self has no TLS");
    if (self && mqtt) die("--mode self has no broker: use ws or raw");
    if (o->publishers + o->subscribers + o->slow + o->readers == 0) die("no connections are asked for");
    bool replay = o->mode == MODE_REPLAY;
    if (!idle && !replay && !o->publishers) die("--pubs 0 makes sense in the modes idle and replay alone");
    if (replay && (!o->replayed || !o->subscribers || o->publishers + o->slow + o->readers || o->protocol != PROTOCOL_WS))
        die("mode replay needs --replayed, and is for WebSocket subscribers alone");
    if (o->mode == MODE_RATE && o->rate <= 0) die("mode rate needs --rate");
    if (raw && o->subscribers + o->slow) die("raw has no subscribers: what is sent comes back to its sender");
    if ((ordered || nats) && o->subscribers + o->slow + o->readers) die("%s has publishers only", protocol_names[o->protocol]);
    if ((ordered || nats) && (self || idle)) die("--proto %s is for the modes throughput and rate", protocol_names[o->protocol]);
    if (o->protocol == PROTOCOL_POSTGRES && o->setup.count != 1) die("postgres needs one --setup, the statement to prepare");
    if (o->readers && !has(o->reader_payload, "{n}")) die("--readers need a --reader-payload with {n} in it");
    if (o->command && (!o->update || !o->ask || !o->deliver || !o->command_event || o->protocol != PROTOCOL_WS))
        die("--command needs --update, --ask, --deliver and --command-event, and is for WebSocket");
    if (o->command && (!has(o->command, "{n}") || !has(o->update, "{n}") || !has(o->update, "{i}") || !has(o->ask, "{n}")))
        die("there must be {n} in --command, --update and --ask, and {i} in --update: nothing could be proved");
    if (o->own_devices && (!o->publishers || o->devices % o->publishers)) die("--own-devices: --devices must be a multiple of --pubs");
    if (!o->login != !o->password) die("--login and --password need each other");
    if (o->login && !mqtt) die("--login is for mqtt");
    if (o->readers && mqtt) die("--readers are not for mqtt, which has no requests of another sort");
    if (!ordered && !has(o->payload, "{n}")) die("there is no {n} in the payload: nothing could be proved");
    if (mqtt && !o->qos && o->mode != MODE_RATE && !idle && (o->flow != FLOW_DELIVER || (!o->to_all && o->subscribers < o->devices)))
        die("with --qos 0 nothing is answered: use --flow deliver and a subscriber for each device, or --mode rate");
}

void options_parse(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        const char *name = arguments[i];
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            help();
            exit(EXIT_CLEAN);
        }
        if (strncmp(name, "--", 2)) die("%s is no option; --help lists them", name);
        name += 2;
        const char *equals = strchr(name, '=');
        const struct option *option = option_named(name, equals ? (size_t)(equals - name) : strlen(name));
        if (option->kind == FLAG) set(option, "");
        else if (equals) set(option, equals + 1);
        else if (++i < count) set(option, arguments[i]);
        else die("--%s %s: the value is missing", option->name, option->argument);
    }
    if (!options.reader_setup.count) options.reader_setup = options.setup;
    check_host();
    check_sense();
}
