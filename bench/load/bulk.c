/*
 * Modes `firehose` (a stream as fast as it is taken, echoed or one-way) and `slow` (the same stream
 * with clients that hardly read: what does the server do with what it can't get rid of?).
 *
 * A "message" of these modes is `size` bytes; latency is not measured.
 */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define POLL_MS 100
#define SLOW_TICK_NS 10000000ull

struct bulk {
  const struct options *options;
  struct result *result;
  struct connection *connections;
  int epoll_fd;
  uint64_t finished;
  uint64_t last_progress;
};

/* Each connection's share; the first one takes what the division leaves. */
static uint64_t share(const struct options *options, uint64_t index) {
  const uint64_t even = options->bytes / options->connections;
  return index == 0 ? options->bytes - even * (options->connections - 1) : even;
}

static void bulk_open(struct bulk *bulk, const struct options *options, struct result *result) {
  memset(bulk, 0, sizeof *bulk);
  bulk->options = options;
  bulk->result = result;
  bulk->epoll_fd = epoll_open();
  bulk->connections = connections_open(options, bulk->epoll_fd, 0);
  bulk->last_progress = now_ns();
}

static void bulk_close(struct bulk *bulk) {
  const uint64_t count = bulk->options->connections;
  for (uint64_t i = 0; i < count; i += 1) bulk->result->sent += bulk->connections[i].sent;
  connections_close(bulk->connections, count);
}

/* One-way: after the last byte, end-of-file; the server's own end-of-file says that it has all. */
static bool one_way_done(struct connection *connection, bool readable) {
  if (connection->sent < connection->queued) return false;
  if (connection->issued == 0) {
    connection->issued = 1;
    if (shutdown(connection->fd, SHUT_WR) != 0) fail("shutdown: %s", strerror(errno));
    return false;
  }
  if (!readable) return false;
  char byte;
  const ssize_t got = recv(connection->fd, &byte, 1, MSG_DONTWAIT);
  if (got > 0) fail("connection %u: a reply came where none was expected", connection->index);
  if (got < 0 && errno != EAGAIN) {
    fail("connection %u: recv: %s", connection->index, strerror(errno));
  }
  return got == 0;
}

static void on_event(struct bulk *bulk, const struct epoll_event *event) {
  struct connection *connection = event->data.ptr;
  const bool readable = (event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
  const uint64_t sent_before = connection->sent;
  connection_flush(connection, bulk->epoll_fd, EPOLLIN);
  uint64_t got = 0;
  bool done = false;
  if (bulk->options->one_way) {
    done = one_way_done(connection, readable);
  } else if (readable) {
    got = connection_receive(connection, UINT64_MAX);
    done = got > 0 && connection->received == connection->queued;
  }
  bulk->result->verified += got;
  if (got > 0 || done || connection->sent > sent_before) bulk->last_progress = now_ns();
  if (done) {
    connection_close(connection);
    bulk->finished += 1;
  }
}

static void poll_once(struct bulk *bulk) {
  struct epoll_event events[EVENTS_MAX];
  const int count = epoll_wait(bulk->epoll_fd, events, EVENTS_MAX, POLL_MS);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i += 1) on_event(bulk, &events[i]);
  if (now_ns() > bulk->last_progress + bulk->options->stall_ns) {
    fail("no progress for %.1f s: %llu of %llu connections done",
         (double)bulk->options->stall_ns / (double)NSEC_PER_SEC,
         (unsigned long long)bulk->finished, (unsigned long long)bulk->options->connections);
  }
}

void run_firehose(const struct options *options, struct result *result) {
  struct bulk bulk;
  bulk_open(&bulk, options, result);
  usage_read(options, &result->begin);
  for (uint64_t i = 0; i < options->connections; i += 1) {
    bulk.connections[i].queued = share(options, i);
    connection_flush(&bulk.connections[i], bulk.epoll_fd, EPOLLIN);
    if (options->one_way) one_way_done(&bulk.connections[i], false);
  }
  while (bulk.finished < options->connections) poll_once(&bulk);
  usage_read(options, &result->end);
  result->bytes = options->bytes;
  result->messages = options->bytes / options->size;
  bulk_close(&bulk);
}

/* slow: every connection sends what the kernel takes and reads its small allowance. */
static void slow_tick(struct bulk *bulk, uint64_t elapsed_ns) {
  const struct options *options = bulk->options;
  const double allowed = (double)options->read_rate * (double)elapsed_ns / 1e9;
  for (uint64_t i = 0; i < options->connections; i += 1) {
    struct connection *connection = &bulk->connections[i];
    connection_flush(connection, bulk->epoll_fd, 0);
    if ((double)connection->received >= allowed) continue;
    const uint64_t limit = (uint64_t)(allowed - (double)connection->received);
    if (limit > 0 && connection->received < connection->queued) {
      bulk->result->verified += connection_receive(connection, limit);
    }
  }
}

void run_slow(const struct options *options, struct result *result) {
  struct bulk bulk;
  bulk_open(&bulk, options, result);
  for (uint64_t i = 0; i < options->connections; i += 1) {
    bulk.connections[i].queued = share(options, i);
  }
  usage_read(options, &result->begin);
  const uint64_t deadline = result->begin.at_ns + options->duration_ns;
  for (uint64_t now = now_ns(); now < deadline; now = now_ns()) {
    slow_tick(&bulk, now - result->begin.at_ns);
    usage_read(options, &result->end);
    if (result->end.server_rss_bytes > result->peak_rss_bytes) {
      result->peak_rss_bytes = result->end.server_rss_bytes;
    }
    usleep(SLOW_TICK_NS / 1000);
  }
  usage_read(options, &result->end);
  result->bytes = result->verified;
  result->messages = result->verified / options->size;
  bulk_close(&bulk);
}
