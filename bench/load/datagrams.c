/*
 * Mode `datagrams`: peers with a UDP socket each, and one datagram in flight on each; the same
 * datagram is expected back.
 *
 * A datagram begins with its number, 8 bytes in the machine's order; pattern bytes that depend on the
 * peer and on that number follow. The network may lose datagrams, so one without an answer after
 * LOSS_NS is counted as lost, and the next one is sent. An answer that comes later than that is
 * ignored: the number tells it from the one that is waited for.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define NUMBER_BYTES sizeof(uint64_t)
#define DATAGRAM_MAX 65507u
#define LOSS_NS NSEC_PER_SEC
#define POLL_MS 50

struct peer {
  int fd;
  uint32_t index;
  uint64_t number;  /* of the datagram in flight, from 1 */
  uint64_t started; /* when it was sent */
  bool waiting;
};

struct datagrams {
  const struct options *options;
  struct result *result;
  struct peer *peers;
  int epoll_fd;
  bool timing; /* inside the timed window */
  bool refill; /* an answered or lost datagram is followed by a new one */
  uint64_t in_flight;
  uint64_t last_progress;
  uint64_t last_check;
};

static unsigned char outgoing[DATAGRAM_MAX];
static unsigned char incoming[DATAGRAM_MAX + 1];

/* What follows the number. */
static const unsigned char *content_of(const struct peer *peer, uint64_t number) {
  return pattern_at((uint64_t)peer->index * 7919u + number * 31u);
}

static void send_next(struct datagrams *d, struct peer *peer, uint64_t now) {
  const size_t size = (size_t)d->options->size;
  peer->number += 1;
  memcpy(outgoing, &peer->number, NUMBER_BYTES);
  memcpy(outgoing + NUMBER_BYTES, content_of(peer, peer->number), size - NUMBER_BYTES);
  ssize_t taken = 0;
  do {
    taken = send(peer->fd, outgoing, size, 0);
  } while (taken < 0 && errno == EINTR);
  /* Without room in the kernel's buffer it is one of those that are lost. */
  if (taken < 0 && errno != EAGAIN && errno != ENOBUFS) {
    fail("peer %u: send: %s", peer->index, strerror(errno));
  }
  peer->started = now;
  peer->waiting = true;
  d->in_flight += 1;
  d->result->sent += size;
}

static void settle(struct datagrams *d, struct peer *peer, uint64_t now) {
  peer->waiting = false;
  d->in_flight -= 1;
  if (d->refill) send_next(d, peer, now);
}

/* One answer, which is right, or late, or ends the program. */
static void answered(struct datagrams *d, struct peer *peer, size_t length, uint64_t now) {
  const size_t size = (size_t)d->options->size;
  uint64_t number = 0;
  if (length != size) {
    fail("peer %u: a datagram of %zu bytes came back; sent were %zu", peer->index, length, size);
  }
  memcpy(&number, incoming, NUMBER_BYTES);
  if (number == 0 || number > peer->number) {
    fail("peer %u: answer %llu came back, and datagram %llu was the last one sent", peer->index,
         (unsigned long long)number, (unsigned long long)peer->number);
  }
  const unsigned char *expected = content_of(peer, number);
  const unsigned char *content = incoming + NUMBER_BYTES;
  for (size_t i = 0; i < size - NUMBER_BYTES; i += 1) {
    if (content[i] == expected[i]) continue;
    fail("peer %u: wrong byte at position %zu of the reply: expected 0x%02x, got 0x%02x", peer->index,
         i + NUMBER_BYTES, expected[i], content[i]);
  }
  d->result->verified += size;
  d->last_progress = now;
  if (!peer->waiting || number != peer->number) return;
  if (d->timing) {
    histogram_record(&d->result->latency, now > peer->started ? now - peer->started : 0);
    d->result->messages += 1;
  }
  settle(d, peer, now);
}

static void on_event(struct datagrams *d, struct peer *peer) {
  const ssize_t got = recv(peer->fd, incoming, sizeof incoming, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got < 0) fail("peer %u: recv: %s", peer->index, strerror(errno));
  answered(d, peer, (size_t)got, now_ns());
}

/* Gives up those that have been waited for too long. */
static void check_losses(struct datagrams *d, uint64_t now) {
  if (now < d->last_check + POLL_MS * 1000000ull) return;
  d->last_check = now;
  for (uint64_t i = 0; i < d->options->connections; i += 1) {
    struct peer *peer = &d->peers[i];
    if (!peer->waiting || now < peer->started + LOSS_NS) continue;
    d->result->lost += 1;
    settle(d, peer, now);
  }
}

static void turn(struct datagrams *d) {
  struct epoll_event events[EVENTS_MAX];
  const int count = epoll_wait(d->epoll_fd, events, EVENTS_MAX, POLL_MS);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i += 1) on_event(d, events[i].data.ptr);
  const uint64_t now = now_ns();
  check_losses(d, now);
  if (now > d->last_progress + d->options->stall_ns) {
    fail("no reply for %.1f s; %llu datagrams are lost", (double)d->options->stall_ns / (double)NSEC_PER_SEC,
         (unsigned long long)d->result->lost);
  }
}

static void run_until(struct datagrams *d, uint64_t deadline) {
  while (now_ns() < deadline) turn(d);
}

static void peer_open(struct datagrams *d, uint32_t index) {
  struct peer *peer = &d->peers[index];
  peer->index = index;
  peer->fd = socket(d->options->address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (peer->fd < 0) fail("socket: %s", strerror(errno));
  const struct sockaddr *address = (const struct sockaddr *)&d->options->address;
  if (connect(peer->fd, address, d->options->address_length) != 0) {
    fail("peer %u: connect: %s", index, strerror(errno));
  }
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
  if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, peer->fd, &event) != 0) {
    fail("epoll_ctl: %s", strerror(errno));
  }
}

void run_datagrams(const struct options *options, struct result *result) {
  struct datagrams d = {.options = options, .result = result, .refill = true};
  d.epoll_fd = epoll_open();
  d.peers = calloc((size_t)options->connections, sizeof *d.peers);
  if (d.peers == NULL) fail("out of memory for %llu peers", (unsigned long long)options->connections);
  for (uint64_t i = 0; i < options->connections; i += 1) peer_open(&d, (uint32_t)i);
  const uint64_t start = now_ns();
  d.last_progress = start;
  d.last_check = start;
  for (uint64_t i = 0; i < options->connections; i += 1) send_next(&d, &d.peers[i], start);
  run_until(&d, start + options->warmup_ns);

  d.timing = true;
  usage_read(options, &result->begin);
  run_until(&d, result->begin.at_ns + options->duration_ns);
  usage_read(options, &result->end);
  result->bytes = result->messages * options->size;

  /* The rest is answered, or counted as lost after LOSS_NS. */
  d.timing = false;
  d.refill = false;
  while (d.in_flight > 0) turn(&d);
  for (uint64_t i = 0; i < options->connections; i += 1) close(d.peers[i].fd);
  close(d.epoll_fd);
  free(d.peers);
}
