#define _GNU_SOURCE
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common.h"
#include "options.h"
#include "protocol.h"
#include "tls.h"

enum { CHUNK = 1 << 18, EVENTS = 512 };

struct connection *connections;
unsigned connection_count, connections_of[ROLE_COUNT];
unsigned lost_count[ROLE_COUNT], state_count[STATE_LOST + 1];
bool run_started;

static const struct protocol *const PROTOCOLS[] = {&websocket_protocol, &mqtt_protocol, &raw_protocol,
                                                 &http_protocol, &nats_protocol, &postgres_protocol};
const struct protocol *protocol;

static int epoll;
static struct connection **touched;
static unsigned touched_count;
static unsigned source; /* further loopback addresses, once the ports of one are used up */

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < connection_count + 32)
        die("%u connections need more open files than the %lu that are allowed: raise ulimit -Hn", connection_count,
            (unsigned long)limit.rlim_max);
}

void connections_prepare(void) {
    const int counts[ROLE_COUNT] = {options.publishers, options.subscribers, options.slow, options.readers};
    for (int role = 0; role < ROLE_COUNT; role++) connection_count += connections_of[role] = (unsigned)counts[role];
    raise_descriptor_limit();
    if (options.tls) tls_prepare();
    protocol = PROTOCOLS[options.protocol];
    connections = need(connection_count, sizeof *connections);
    touched = need(connection_count, sizeof *touched);
    state_count[STATE_NEW] = connection_count;
    for (unsigned role = 0, number = 0; role < ROLE_COUNT; role++)
        for (unsigned index = 0; index < connections_of[role]; index++, number++)
            connections[number] = (struct connection){.fd = -1, .role = role, .index = index, .number = number};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll: %s", strerror(errno));
}

struct connection *connection_of(enum role role, unsigned index) {
    for (unsigned before = 0; before < role; before++) index += connections_of[before];
    return &connections[index];
}

static void watch(struct connection *c, int operation) {
    /* A slow subscriber is not told of data, only of its end. */
    bool reads = !(c->role == ROLE_SLOW && c->state == STATE_READY);
    struct epoll_event event = {.events = (reads ? EPOLLIN : EPOLLRDHUP) | (c->wants_write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event)) die("epoll: %s", strerror(errno));
}

static void want_write(struct connection *c, bool wanted) {
    if (c->wants_write == wanted) return;
    c->wants_write = wanted;
    watch(c, EPOLL_CTL_MOD);
}

void connection_state(struct connection *c, enum state state) {
    state_count[c->state]--;
    state_count[state]++;
    c->state = state;
    if (c->role == ROLE_SLOW && state == STATE_READY) watch(c, EPOLL_CTL_MOD);
}

void connection_lost(struct connection *c, const char *reason) {
    if (c->state == STATE_LOST) return;
    if (!run_started) die("connection %u could not be opened: %s", c->number, reason);
    if (c->role != ROLE_SLOW && !lost_count[c->role]) fprintf(stderr, "loadgen: connection %u was lost: %s\n", c->number, reason);
    connection_state(c, STATE_LOST);
    lost_count[c->role]++;
    if (c->tls) tls_end(c);
    close(c->fd);
    c->fd = -1;
}

static void greet(struct connection *c) {
    protocol->hello(c);
    connection_touch(c);
}

static void shake_hands(struct connection *c) {
    ssize_t done = tls_handshake(c);
    if (done > 0) greet(c);
    else if (done == BROKEN || done == ENDED) connection_lost(c, tls_reason());
    else want_write(c, done == WAITS_TO_WRITE);
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        connection_lost(c, strerror(error));
        return;
    }
    if (options.tls) {
        tls_begin(c);
        shake_hands(c);
    } else greet(c);
}

static int new_socket(void) {
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + source)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!source) return fd;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&from, sizeof from)) die("bind to a loopback address: %s", strerror(errno));
    return fd;
}

static void start_local(struct connection *c) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(options.socket) >= sizeof to.sun_path) die("--socket %s: the path is too long", options.socket);
    strcpy(to.sun_path, options.socket);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect to %s: %s", options.socket, strerror(errno));
}

static void start_tcp(struct connection *c) {
    int port = options.second_port && c->index % 2 ? options.second_port : options.port;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, options.host, &to.sin_addr);
    for (;;) {
        c->fd = new_socket();
        if (!connect(c->fd, (struct sockaddr *)&to, sizeof to) || errno == EINPROGRESS) break;
        if (errno != EADDRNOTAVAIL || source == 64) die("connect to %s port %d: %s", options.host, port, strerror(errno));
        close(c->fd);
        source++;
    }
}

void connection_start(struct connection *c) {
    if (options.socket) start_local(c);
    else start_tcp(c);
    connection_state(c, STATE_CONNECTING);
    c->wants_write = true;
    watch(c, EPOLL_CTL_ADD);
}

void connection_touch(struct connection *c) {
    if (c->dirty || c->state == STATE_LOST) return;
    c->dirty = true;
    touched[touched_count++] = c;
}

/* Both return a number of bytes, or what tls.h says. */
static ssize_t get(struct connection *c, uint8_t *bytes, size_t length) {
    if (c->tls) return tls_read(c, bytes, length);
    ssize_t got = recv(c->fd, bytes, length, 0);
    return got >= 0 ? got : errno == EAGAIN ? WAITS_TO_READ : BROKEN;
}

static ssize_t put(struct connection *c, const uint8_t *bytes, size_t length) {
    if (c->tls) return tls_write(c, bytes, length);
    ssize_t sent = send(c->fd, bytes, length, MSG_NOSIGNAL);
    return sent >= 0 ? sent : errno == EAGAIN ? WAITS_TO_WRITE : BROKEN;
}

static const char *reason_of(const struct connection *c) { return c->tls ? tls_reason() : strerror(errno); }

void connection_flush(struct connection *c) {
    while (buffer_length(&c->out)) {
        ssize_t sent = put(c, buffer_data(&c->out), buffer_length(&c->out));
        if (sent == WAITS_TO_WRITE || sent == WAITS_TO_READ) {
            want_write(c, sent == WAITS_TO_WRITE);
            return;
        }
        if (sent < 0) {
            connection_lost(c, reason_of(c));
            return;
        }
        buffer_take(&c->out, (size_t)sent);
    }
    want_write(c, false);
}

static void parse(struct connection *c, const uint8_t *bytes, size_t length, uint64_t now) {
    if (!buffer_length(&c->in)) {
        size_t used = protocol->parse(c, bytes, length, now);
        buffer_put(&c->in, bytes + used, length - used);
        return;
    }
    buffer_put(&c->in, bytes, length);
    buffer_take(&c->in, protocol->parse(c, buffer_data(&c->in), buffer_length(&c->in), now));
}

/* Read what there is, as far as it fits; returns how much. TLS gives a record at a time, and may hold more of which epoll knows nothing. */
static size_t read_some(struct connection *c, uint8_t *bytes, size_t room, ssize_t *last) {
    size_t length = 0;
    do {
        *last = get(c, bytes + length, room - length);
        if (*last > 0) length += (size_t)*last;
    } while (c->tls && *last > 0 && length < room);
    return length;
}

static void readable(struct connection *c) {
    static uint8_t chunk[CHUNK];
    int one = 1;
    ssize_t last;
    do {
        size_t length = read_some(c, chunk, sizeof chunk, &last);
        /* One who only reads delays its ACKs, and a kernel that paces by them (BBR) then stalls small writes for 40 ms; that would be
           charged to the server. The kernel forgets the wish, so it is repeated. */
        if (c->role == ROLE_SUBSCRIBER && run_started) setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
        if (length) parse(c, chunk, length, now_ns());
    } while (c->tls && last > 0);
    if (last == ENDED || last == BROKEN) connection_lost(c, last == ENDED ? "the server closed it" : reason_of(c));
}

static void on_event(struct connection *c, uint32_t events) {
    if (c->state == STATE_LOST) return;
    if (c->state == STATE_CONNECTING) {
        if (c->tls) shake_hands(c);
        else connected(c);
        return;
    }
    if (events & EPOLLOUT) connection_touch(c);
    if (c->role == ROLE_SLOW && c->state == STATE_READY) {
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) connection_lost(c, "closed");
    } else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
}

void connections_turn(int milliseconds, void (*pump)(struct connection *c)) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, touched_count ? 0 : milliseconds);
    for (int i = 0; i < count; i++) on_event(events[i].data.ptr, events[i].events);
    for (unsigned i = 0; i < touched_count; i++) {
        struct connection *c = touched[i];
        c->dirty = false;
        if (c->state == STATE_LOST) continue;
        if (pump && c->state == STATE_READY) pump(c);
        connection_flush(c);
    }
    touched_count = 0;
}

/* Returns false at the end of the stream. */
static bool swallow(struct connection *c, size_t bytes) {
    static uint8_t chunk[CHUNK];
    while (bytes) {
        ssize_t got = get(c, chunk, bytes < CHUNK ? bytes : CHUNK);
        if (got == WAITS_TO_READ || got == WAITS_TO_WRITE) return true;
        if (got <= 0) return false;
        bytes -= (size_t)got;
    }
    return true;
}

void slow_read(size_t bytes) {
    for (unsigned i = 0; i < connections_of[ROLE_SLOW]; i++) {
        struct connection *c = connection_of(ROLE_SLOW, i);
        if (c->state == STATE_READY && !swallow(c, bytes)) connection_lost(c, "closed");
    }
}

unsigned slow_closed(void) {
    enum { MORE_THAN_KERNELS_HOLD = 1 << 24 };
    slow_read(MORE_THAN_KERNELS_HOLD);
    return lost_count[ROLE_SLOW];
}
