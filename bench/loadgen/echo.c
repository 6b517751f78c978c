/*
 * A server that does nearly nothing, to measure the generator with: each message goes back as it came, and a copy of it to every
 * connection that was opened at a path ending in "subscribe". It prints its port and serves until it is killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buffer.h"
#include "common.h"
#include "websocket_frame.h"

enum { CHUNK = 1 << 18, EVENTS = 512, BACKLOG = 4096 };

struct client {
    int fd;
    bool open, subscriber, writing, gone;
    struct buffer in, out;
};

static int epoll;
static bool raw;
static struct client **subscribers;
static size_t subscriber_count;

static void watch(struct client *c, int operation, bool writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    c->writing = writing;
    epoll_ctl(epoll, operation, c->fd, &event);
}

/* Its memory stays: a list of subscribers may still name it. */
static void close_client(struct client *c) {
    if (c->gone) return;
    c->gone = true;
    close(c->fd);
    buffer_free(&c->in);
    buffer_free(&c->out);
}

static void flush(struct client *c) {
    while (!c->gone && buffer_length(&c->out)) {
        ssize_t sent = send(c->fd, buffer_data(&c->out), buffer_length(&c->out), MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            if (!c->writing) watch(c, EPOLL_CTL_MOD, true);
            return;
        }
        if (sent < 0) close_client(c);
        else buffer_take(&c->out, (size_t)sent);
    }
    if (!c->gone && c->writing) watch(c, EPOLL_CTL_MOD, false);
}

static void subscribe(struct client *c) {
    subscribers = realloc(subscribers, (subscriber_count + 1) * sizeof *subscribers);
    if (!subscribers) die("no memory for another subscriber");
    subscribers[subscriber_count++] = c;
    c->subscriber = true;
}

static size_t handshake(struct client *c, const uint8_t *bytes, size_t length) {
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: " WEBSOCKET_ACCEPT "\r\n\r\n";
    const uint8_t *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) return 0;
    c->open = true;
    buffer_put(&c->out, answer, sizeof answer - 1);
    if (memmem(bytes, length, "subscribe HTTP/1.1\r\n", 20)) subscribe(c);
    return (size_t)(end - bytes) + 4;
}

static void echo_frame(struct client *c, const struct frame *f, const uint8_t *payload) {
    uint8_t *frame = buffer_room(&c->out, FRAME_HEAD_SPACE + f->length);
    size_t head = frame_head(frame, f->opcode, f->length, NULL);
    for (size_t i = 0; i < f->length; i++) frame[head + i] = payload[i] ^ f->mask[i & 3];
    for (size_t i = 0; i < subscriber_count; i++)
        if (!subscribers[i]->gone) buffer_put(&subscribers[i]->out, frame, head + f->length);
    c->out.end += head + f->length;
}

static void take(struct client *c) {
    struct frame f;
    if (raw) {
        buffer_put(&c->out, buffer_data(&c->in), buffer_length(&c->in));
        buffer_take(&c->in, buffer_length(&c->in));
        return;
    }
    if (!c->open) buffer_take(&c->in, handshake(c, buffer_data(&c->in), buffer_length(&c->in)));
    while (c->open && frame_read(&f, buffer_data(&c->in), buffer_length(&c->in))) {
        if (f.opcode == OPCODE_TEXT || f.opcode == OPCODE_BINARY) echo_frame(c, &f, buffer_data(&c->in) + f.head);
        buffer_take(&c->in, f.head + f.length);
    }
}

static void readable(struct client *c) {
    ssize_t got = recv(c->fd, buffer_room(&c->in, CHUNK), CHUNK, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        close_client(c);
        return;
    }
    c->in.end += (size_t)got;
    take(c);
    flush(c);
}

static void accept_clients(int listener) {
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct client *c = need(1, sizeof *c);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, false);
    }
}

static int listen_somewhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, BACKLOG)) die("echo: %s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments) {
    struct rlimit limit;
    struct epoll_event events[EVENTS];
    raw = count > 1 && !strcmp(arguments[1], "--raw");
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll = epoll_create1(0);
    int listener = listen_somewhere();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            if (!c) accept_clients(listener);
            else if (!c->gone && events[i].events & EPOLLOUT) flush(c);
            if (c && !c->gone && events[i].events & ~(uint32_t)EPOLLOUT) readable(c);
        }
        for (size_t i = 0; i < subscriber_count; i++) flush(subscribers[i]);
    }
}
