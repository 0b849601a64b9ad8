/*
 * Modes `pingpong` and `rate`: messages out, the same messages expected back.
 *
 * pingpong is a closed loop: each connection keeps `depth` messages in flight. rate is an open one:
 * message i is due at begin + i / rate whatever the server does, and its latency is counted from
 * then, so that a stall is charged to every message that it delayed (no coordinated omission).
 */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

/* rate: messages in flight per connection; what is due beyond that waits, with its clock running */
#define RATE_RING 4096u
#define SPIN_BELOW_NS 2000000ull
#define POLL_MS 100

struct exchange {
  const struct options *options;
  struct result *result;
  struct connection *connections;
  int epoll_fd;
  bool timing;             /* inside the timed window */
  bool refill;             /* completed messages are followed by new ones */
  uint64_t in_flight;
  uint64_t schedule_start; /* rate: when message 0 was due */
  uint64_t scheduled;      /* rate: messages sent or queued so far */
  uint64_t last_progress;
};

static void issue(struct exchange *x, struct connection *connection, uint64_t started) {
  connection->started[connection->issued % connection->ring] = started;
  connection->issued += 1;
  connection->queued += x->options->size;
  x->in_flight += 1;
}

static uint64_t active_count(const struct options *options) {
  return options->active == 0 ? options->connections : options->active;
}

/* The active connections are spread over all of them. */
static struct connection *active_one(const struct exchange *x, uint64_t number) {
  const uint64_t step = x->options->connections / active_count(x->options);
  return &x->connections[number * step];
}

static uint64_t due_at(const struct exchange *x, uint64_t message) {
  const double offset = (double)message * 1e9 / (double)x->options->rate;
  return x->schedule_start + (uint64_t)offset;
}

/* rate: queues every message whose time has come. */
static void issue_due(struct exchange *x, uint64_t now) {
  while (due_at(x, x->scheduled) <= now) {
    struct connection *connection = active_one(x, x->scheduled % active_count(x->options));
    if (connection->issued - connection->completed == connection->ring) return;
    issue(x, connection, due_at(x, x->scheduled));
    connection_flush(connection, x->epoll_fd, EPOLLIN);
    x->scheduled += 1;
  }
}

static void complete(struct exchange *x, struct connection *connection, uint64_t now) {
  const uint64_t done = connection->received / x->options->size;
  while (connection->completed < done) {
    const uint64_t started = connection->started[connection->completed % connection->ring];
    connection->completed += 1;
    x->in_flight -= 1;
    if (x->timing) {
      histogram_record(&x->result->latency, now > started ? now - started : 0);
      x->result->messages += 1;
    }
    if (x->refill && x->options->mode == MODE_PINGPONG) issue(x, connection, now);
  }
}

static void on_event(struct exchange *x, const struct epoll_event *event) {
  struct connection *connection = event->data.ptr;
  if ((event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
    const uint64_t got = connection_receive(connection, UINT64_MAX);
    const uint64_t now = now_ns();
    if (got > 0) {
      x->result->verified += got;
      x->last_progress = now;
      complete(x, connection, now);
    }
  }
  connection_flush(connection, x->epoll_fd, EPOLLIN);
}

static int poll_timeout(const struct exchange *x, uint64_t now) {
  if (x->options->mode != MODE_RATE || !x->refill) return POLL_MS;
  const uint64_t due = due_at(x, x->scheduled);
  if (due <= now + SPIN_BELOW_NS) return 0;
  const uint64_t wait_ms = (due - now) / 1000000u - 1;
  return wait_ms < POLL_MS ? (int)wait_ms : POLL_MS;
}

static void turn(struct exchange *x) {
  struct epoll_event events[EVENTS_MAX];
  const uint64_t now = now_ns();
  if (x->options->mode == MODE_RATE && x->refill) issue_due(x, now);
  if (x->in_flight == 0) x->last_progress = now;
  const int count = epoll_wait(x->epoll_fd, events, EVENTS_MAX, poll_timeout(x, now));
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i += 1) on_event(x, &events[i]);
  if (count <= 0 && now > x->last_progress + x->options->stall_ns) {
    fail("no reply for %.1f s with %llu messages in flight",
         (double)x->options->stall_ns / (double)NSEC_PER_SEC, (unsigned long long)x->in_flight);
  }
}

static void run_until(struct exchange *x, uint64_t deadline) {
  while (now_ns() < deadline) turn(x);
}

/* Lets what is in flight come back, so that the connections close in order. */
static void drain(struct exchange *x) {
  x->refill = false;
  /* In an open loop the late ones are the point: they still count, from when they were due. */
  x->timing = x->options->mode == MODE_RATE;
  const uint64_t messages = x->result->messages;
  const uint64_t deadline = now_ns() + x->options->stall_ns;
  while (x->in_flight > 0 && now_ns() < deadline) turn(x);
  x->result->unfinished = x->in_flight;
  x->result->messages = messages;
}

void run_exchange(const struct options *options, struct result *result) {
  struct exchange x = {.options = options, .result = result, .refill = true};
  const uint64_t ring = options->mode == MODE_RATE ? RATE_RING : options->depth;
  x.epoll_fd = epoll_open();
  x.connections = connections_open(options, x.epoll_fd, ring);
  const uint64_t start = now_ns();
  x.last_progress = start;
  x.schedule_start = start;
  if (options->mode == MODE_PINGPONG) {
    for (uint64_t i = 0; i < active_count(options); i += 1) {
      struct connection *connection = active_one(&x, i);
      for (uint64_t j = 0; j < options->depth; j += 1) issue(&x, connection, now_ns());
      connection_flush(connection, x.epoll_fd, EPOLLIN);
    }
  }
  run_until(&x, start + options->warmup_ns);

  x.timing = true;
  usage_read(options, &result->begin);
  run_until(&x, result->begin.at_ns + options->duration_ns);
  usage_read(options, &result->end);
  result->bytes = result->messages * options->size;

  drain(&x);
  for (uint64_t i = 0; i < options->connections; i += 1) result->sent += x.connections[i].sent;
  connections_close(x.connections, options->connections);
}
