/* What the command line asks for. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum mode { MODE_THROUGHPUT, MODE_RATE, MODE_IDLE, MODE_SELF, MODE_REPLAY };
enum flow { FLOW_ACK, FLOW_DELIVER, FLOW_BOTH };
enum protocol_kind { PROTOCOL_WS, PROTOCOL_MQTT, PROTOCOL_RAW, PROTOCOL_HTTP, PROTOCOL_NATS, PROTOCOL_POSTGRES };

enum { MOST_TEXTS = 16 };

struct texts {
    const char *items[MOST_TEXTS];
    int count;
};

struct options {
    int mode, protocol, flow;
    const char *host, *socket, *path, *sub_path, *subprotocol, *method, *user, *database, *pid, *second_pid;
    int port, second_port;
    struct texts headers;

    int publishers, subscribers, window, devices;
    bool scatter, to_all, any_order, tls;
    double rate, warm, secs, hold, patience, linger;
    int opening, requests, replayed;
    int command_share, ask_share;
    bool own_devices;
    const char *command, *command_event, *command_id, *update, *update_id, *ask;

    const char *payload, *topic, *sub_topic, *login, *password;
    int qos;
    struct texts setup, sub_setup, reader_setup;
    const char *setup_ok, *ack, *deliver, *error, *answer_id, *delivery_id;

    int slow, slow_bytes;
    int readers, reader_window;
    const char *reader_payload;
    int echo_cpu;
};

extern struct options options;
extern const char *const mode_names[], *const protocol_names[], *const flow_names[];

/* Fill `options`, or end: --help is status 0, what makes no sense status 2. */
void options_parse(int count, char **arguments);

#endif
