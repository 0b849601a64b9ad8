/*
 * Modes `storm` (connect, one round trip, close, again and again; as fast as it goes, or so many per second) and `idle` (open many, one round
 * trip each so that the server has surely accepted them, and hold them).
 *
 * A "message" of these modes is one connection; its latency runs from connect to the last byte of
 * the reply.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define POLL_MS 100
#define OPENING_MAX 256u /* idle: connections on their way at the same time */
#define WARMING 50u          /* the same, before the timed window */
#define WARMING_ROUND 500u   /* and how many are made between two looks at the clock */

struct fleet {
  const struct options *options;
  struct result *result;
  struct connection *connections;
  uint64_t *started;
  int epoll_fd;
  bool close_when_done;
  uint64_t total;    /* connections to make in all */
  uint64_t rate;     /* per second; 0: as fast as it goes */
  uint64_t begun_ns;
  uint64_t *idle;    /* with a rate: slots that wait for the next one's time */
  uint64_t idle_count;
  uint64_t opened;
  uint64_t finished;
  uint64_t last_progress;
};

static void open_in_slot(struct fleet *fleet, uint64_t slot) {
  struct connection *connection = &fleet->connections[slot];
  fleet->started[slot] = now_ns();
  connection_start(connection, (uint32_t)fleet->opened, fleet->epoll_fd, fleet->options);
  connection->queued = fleet->options->size;
  fleet->opened += 1;
}

static void finish(struct fleet *fleet, struct connection *connection) {
  const uint64_t slot = (uint64_t)(connection - fleet->connections);
  histogram_record(&fleet->result->latency, now_ns() - fleet->started[slot]);
  fleet->result->sent += connection->sent;
  fleet->result->messages += 1;
  fleet->finished += 1;
  if (fleet->close_when_done) {
    connection_close(connection);
    if (fleet->rate > 0) fleet->idle[fleet->idle_count++] = slot;
    else if (fleet->opened < fleet->total) open_in_slot(fleet, slot);
  } else if (fleet->opened < fleet->total) {
    open_in_slot(fleet, fleet->opened);
  }
}

static void on_event(struct fleet *fleet, const struct epoll_event *event) {
  struct connection *connection = event->data.ptr;
  if (connection->sent == 0) connection_check_connected(connection);
  if (connection->sent < connection->queued) {
    connection_flush(connection, fleet->epoll_fd, EPOLLIN);
  }
  if ((event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0) return;
  fleet->result->verified += connection_receive(connection, UINT64_MAX);
  if (connection->received == fleet->options->size) finish(fleet, connection);
}

/* With a rate: opens what is due; the milliseconds until the next one is. Latency counts from the opening. */
static int open_due(struct fleet *fleet) {
  while (fleet->idle_count > 0 && fleet->opened < fleet->total) {
    const uint64_t due = fleet->begun_ns + (uint64_t)((double)fleet->opened * 1e9 / (double)fleet->rate);
    const uint64_t now = now_ns();
    if (due > now) return (int)((due - now + 999999u) / 1000000u);
    fleet->idle_count -= 1;
    open_in_slot(fleet, fleet->idle[fleet->idle_count]);
  }
  return POLL_MS;
}

static void run_fleet(struct fleet *fleet, uint64_t at_once) {
  const struct options *options = fleet->options;
  struct epoll_event events[EVENTS_MAX];
  fleet->last_progress = now_ns();
  fleet->begun_ns = fleet->last_progress;
  for (uint64_t slot = 0; slot < at_once && fleet->opened < fleet->total; slot += 1) {
    if (fleet->rate > 0) fleet->idle[fleet->idle_count++] = slot;
    else open_in_slot(fleet, slot);
  }
  while (fleet->finished < fleet->total) {
    const int wait_ms = fleet->rate > 0 ? open_due(fleet) : POLL_MS;
    const int count = epoll_wait(fleet->epoll_fd, events, EVENTS_MAX, wait_ms);
    if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i += 1) on_event(fleet, &events[i]);
    const uint64_t now = now_ns();
    if (count > 0) fleet->last_progress = now;
    if (now > fleet->last_progress + options->stall_ns) {
      fail("no progress for %.1f s: %llu of %llu connections done",
           (double)options->stall_ns / (double)NSEC_PER_SEC, (unsigned long long)fleet->finished,
           (unsigned long long)fleet->total);
    }
  }
}

static void fleet_init(struct fleet *fleet, const struct options *options, struct result *result,
                       uint64_t slots) {
  memset(fleet, 0, sizeof *fleet);
  fleet->options = options;
  fleet->result = result;
  fleet->epoll_fd = epoll_open();
  fleet->connections = calloc((size_t)slots, sizeof *fleet->connections);
  fleet->started = calloc((size_t)slots, sizeof *fleet->started);
  fleet->idle = calloc((size_t)slots, sizeof *fleet->idle);
  if (fleet->connections == NULL || fleet->started == NULL || fleet->idle == NULL) fail("out of memory");
  for (uint64_t i = 0; i < slots; i += 1) fleet->connections[i].fd = -1;
}

static void fleet_free(struct fleet *fleet, uint64_t slots) {
  connections_close(fleet->connections, slots);
  free(fleet->started);
  free(fleet->idle);
}

/* For so many seconds as options say, connections come and go: the server's code becomes warm. */
static void warm_up(const struct options *options) {
  struct fleet fleet;
  struct result unused;
  const uint64_t end = now_ns() + options->warmup_ns;
  if (options->warmup_ns == 0) return;
  memset(&unused, 0, sizeof unused);
  fleet_init(&fleet, options, &unused, WARMING);
  fleet.close_when_done = true;
  while (now_ns() < end) {
    fleet.total += WARMING_ROUND;
    run_fleet(&fleet, WARMING);
  }
  fleet_free(&fleet, WARMING);
}

void run_storm(const struct options *options, struct result *result) {
  struct fleet fleet;
  warm_up(options);
  fleet_init(&fleet, options, result, options->connections);
  fleet.close_when_done = true;
  fleet.total = options->count;
  fleet.rate = options->rate;
  usage_read(options, &result->begin);
  run_fleet(&fleet, options->connections);
  usage_read(options, &result->end);
  result->bytes = result->messages * options->size;
  fleet_free(&fleet, options->connections);
}

void run_idle(const struct options *options, struct result *result) {
  struct fleet fleet;
  warm_up(options);
  fleet_init(&fleet, options, result, options->connections);
  fleet.total = options->connections;
  usage_read(options, &result->begin);
  run_fleet(&fleet, OPENING_MAX);
  const struct timespec hold = {(time_t)(options->duration_ns / NSEC_PER_SEC),
                                (long)(options->duration_ns % NSEC_PER_SEC)};
  nanosleep(&hold, NULL);
  usage_read(options, &result->end);
  result->bytes = result->messages * options->size;
  fleet_free(&fleet, options->connections);
}
