/*
 * Connections: sockets that send a known stream of bytes and verify the stream that comes back.
 *
 * All streams are cut from one pattern of pseudo-random bytes with a prime period, each connection
 * starting elsewhere in it, so that a lost, repeated, reordered or misdelivered byte is seen.
 * Nothing is copied for sending, and verifying is one memcmp per receive.
 */
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PERIOD 65521u
#define CHUNK (256u * 1024u)
#define SETTLE_EVERY 128u

static unsigned char pattern[PERIOD + CHUNK];
static unsigned char inbox[CHUNK];

void pattern_init(void) {
  uint32_t state = 2463534242u;
  for (uint32_t i = 0; i < PERIOD; i += 1) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    pattern[i] = (unsigned char)(state >> 24);
  }
  for (uint32_t i = PERIOD; i < PERIOD + CHUNK; i += 1) pattern[i] = pattern[i - PERIOD];
}

const unsigned char *pattern_at(uint64_t position) {
  return pattern + position % PERIOD;
}

static const unsigned char *stream_at(const struct connection *connection, uint64_t position) {
  return pattern_at(connection->origin + position);
}

/*
 * IPv4 clients take turns at addresses: one has some 28,000 ports, and each of them rests for a
 * while after its connection. With the port left to connect, any free one of an address will do.
 */
#define SOURCES 64u
static void spread_source(int fd, uint32_t index, const struct options *options) {
  if (options->address.ss_family != AF_INET) return;
  const struct sockaddr_in source = {.sin_family = AF_INET,
                                     .sin_addr.s_addr = htonl(0x7f000001u + index % SOURCES)};
  const int on = 1;
  if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
      bind(fd, (const struct sockaddr *)&source, sizeof source) != 0) {
    fail("bind to 127.0.0.%u: %s", 1 + index % SOURCES, strerror(errno));
  }
}

static void socket_open(struct connection *connection, uint32_t index, int type,
                        const struct options *options) {
  uint64_t *const started = connection->started;
  const uint64_t ring = connection->ring;
  memset(connection, 0, sizeof *connection);
  connection->started = started;
  connection->ring = ring;
  connection->index = index;
  connection->origin = (uint64_t)index * 7919u % PERIOD;
  connection->fd = socket(options->address.ss_family, type | SOCK_CLOEXEC, 0);
  if (connection->fd < 0) fail("socket: %s", strerror(errno));
  const int on = 1;
  if (setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    fail("TCP_NODELAY: %s", strerror(errno));
  }
  spread_source(connection->fd, index, options);
}

void connection_open(struct connection *connection, uint32_t index,
                     const struct options *options) {
  socket_open(connection, index, SOCK_STREAM, options);
  const struct timeval patience = {(time_t)(options->stall_ns / NSEC_PER_SEC),
                                   (suseconds_t)(options->stall_ns % NSEC_PER_SEC / 1000)};
  if (setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0) {
    fail("SO_SNDTIMEO: %s", strerror(errno));
  }
  const struct sockaddr *address = (const struct sockaddr *)&options->address;
  if (connect(connection->fd, address, options->address_length) != 0) {
    fail("connection %u: connect: %s", index,
         errno == EINPROGRESS ? "timed out" : strerror(errno));
  }
  if (options->tls) tls_open(connection);
}

void connection_start(struct connection *c, uint32_t index, int epoll_fd,
                      const struct options *options) {
  socket_open(c, index, SOCK_STREAM | SOCK_NONBLOCK, options);
  const struct sockaddr *address = (const struct sockaddr *)&options->address;
  const int result = connect(c->fd, address, options->address_length);
  if (result != 0 && errno != EINPROGRESS) {
    fail("connection %u: connect: %s", index, strerror(errno));
  }
  connection_watch(c, epoll_fd, EPOLLOUT);
}

void connection_check_connected(const struct connection *connection) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
  if (error != 0) fail("connection %u: connect: %s", connection->index, strerror(error));
}

void connection_watch(struct connection *connection, int epoll_fd, uint32_t events) {
  if (connection->watching == events) return;
  struct epoll_event event = {.events = events, .data.ptr = connection};
  const int operation = connection->watching == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (epoll_ctl(epoll_fd, operation, connection->fd, &event) != 0) {
    fail("epoll_ctl: %s", strerror(errno));
  }
  connection->watching = events;
}

static ssize_t send_some(struct connection *connection, const void *bytes, size_t length) {
  if (connection->tls != NULL) return tls_send(connection, bytes, length);
  return send(connection->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t receive_some(struct connection *connection, void *bytes, size_t length) {
  if (connection->tls != NULL) return tls_receive(connection, bytes, length);
  return recv(connection->fd, bytes, length, MSG_DONTWAIT);
}

void connection_flush(struct connection *connection, int epoll_fd, uint32_t events) {
  while (connection->sent < connection->queued) {
    const uint64_t rest = connection->queued - connection->sent;
    const size_t length = rest < CHUNK ? (size_t)rest : CHUNK;
    const unsigned char *bytes = stream_at(connection, connection->sent);
    const ssize_t taken = send_some(connection, bytes, length);
    if (taken < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) fail("connection %u: send: %s", connection->index, strerror(errno));
      connection_watch(connection, epoll_fd, events | EPOLLOUT);
      return;
    }
    connection->sent += (uint64_t)taken;
  }
  connection_watch(connection, epoll_fd, events);
}

static _Noreturn void report_difference(const struct connection *connection, uint64_t length) {
  const unsigned char *expected = stream_at(connection, connection->received);
  uint64_t at = 0;
  while (at < length && inbox[at] == expected[at]) at += 1;
  fail("connection %u: wrong byte at position %llu of the reply: expected 0x%02x, got 0x%02x",
       connection->index, (unsigned long long)(connection->received + at), expected[at],
       inbox[at]);
}

uint64_t connection_receive(struct connection *connection, uint64_t limit) {
  const size_t room = limit < CHUNK ? (size_t)limit : CHUNK;
  ssize_t got = 0;
  do {
    got = receive_some(connection, inbox, room);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return 0;
  if (got < 0) fail("connection %u: recv: %s", connection->index, strerror(errno));
  if (got == 0) {
    fail("connection %u: the server closed it after %llu of %llu bytes", connection->index,
         (unsigned long long)connection->received, (unsigned long long)connection->sent);
  }
  const uint64_t length = (uint64_t)got;
  if (connection->received + length > connection->sent) {
    fail("connection %u: more bytes came back than were sent", connection->index);
  }
  const unsigned char *expected = stream_at(connection, connection->received);
  if (memcmp(inbox, expected, (size_t)length) != 0) report_difference(connection, length);
  connection->received += length;
  return length;
}

void connection_settle(struct connection *connection, const struct options *options) {
  const uint64_t target = connection->queued + options->size;
  const uint64_t deadline = now_ns() + options->stall_ns;
  connection->queued = target;
  while (connection->received < target) {
    const uint64_t rest = connection->queued - connection->sent;
    const short wanted = rest > 0 ? POLLIN | POLLOUT : POLLIN;
    struct pollfd poll_fd = {.fd = connection->fd, .events = wanted};
    if (poll(&poll_fd, 1, 100) < 0 && errno != EINTR) fail("poll: %s", strerror(errno));
    if (rest > 0) {
      const size_t length = rest < CHUNK ? (size_t)rest : CHUNK;
      const unsigned char *bytes = stream_at(connection, connection->sent);
      const ssize_t taken = send_some(connection, bytes, length);
      if (taken > 0) connection->sent += (uint64_t)taken;
      else if (errno != EAGAIN && errno != EINTR) fail("send: %s", strerror(errno));
    }
    connection_receive(connection, UINT64_MAX);
    if (now_ns() > deadline) fail("connection %u: no reply to its first message",
                                  connection->index);
  }
  connection->issued += 1;
  connection->completed += 1;
}

void connection_close(struct connection *connection) {
  if (connection->tls != NULL) tls_close(connection);
  if (connection->fd >= 0) close(connection->fd);
  connection->fd = -1;
  connection->watching = 0;
}

struct connection *connections_open(const struct options *options, int epoll_fd, uint64_t ring) {
  struct connection *all = calloc((size_t)options->connections, sizeof *all);
  if (all == NULL) fail("out of memory for %llu connections",
                        (unsigned long long)options->connections);
  for (uint64_t i = 0; i < options->connections; i += 1) {
    all[i].ring = ring;
    if (ring > 0) {
      all[i].started = calloc((size_t)ring, sizeof *all[i].started);
      if (all[i].started == NULL) fail("out of memory for %llu messages in flight",
                                       (unsigned long long)(ring * options->connections));
    }
    connection_open(&all[i], (uint32_t)i, options);
    /* Faster than the server accepts, and a lost SYN costs a second: wait for it now and then. */
    if (ring > 0 && i % SETTLE_EVERY == SETTLE_EVERY - 1) connection_settle(&all[i], options);
    connection_watch(&all[i], epoll_fd, EPOLLIN);
  }
  return all;
}

void connections_close(struct connection *connections, uint64_t count) {
  for (uint64_t i = 0; i < count; i += 1) {
    connection_close(&connections[i]);
    free(connections[i].started);
  }
  free(connections);
}
