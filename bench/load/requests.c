/*
 * Mode `requests`: clients of a protocol keep `depth` requests in flight each; every reply is looked at.
 *
 * redis-set and redis-get take turns at a thousand keys; the value of a key follows from it, so that
 * an answer to another request is seen. http asks for `/`, and expects the body `hello, world\n`.
 */
#define _GNU_SOURCE /* memmem */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#define POLL_MS 100
#define KEYS 1000u
#define REQUEST_MAX 128u
#define INBOX 65536u
#define HTTP_BODY "hello, world\n"

struct client {
  struct connection connection; /* only its socket is used, and the counts of messages */
  size_t kept;                  /* bytes of a reply that is not whole yet */
  char inbox[INBOX];
};

struct conversation {
  /* Writes request `number` of a client; its length. */
  size_t (*request)(const struct client *client, uint64_t number, char *text);
  /* The length of the reply at the begin of the inbox; 0: not whole yet. A wrong one ends the program. */
  size_t (*reply)(const struct client *client, uint64_t number, const char *text, size_t length);
};

struct requests {
  const struct options *options;
  struct result *result;
  struct client *clients;
  const struct conversation *conversation;
  char *outbox;
  int epoll_fd;
  bool timing, refill;
  uint64_t in_flight;
  uint64_t last_progress;
};

static _Noreturn void wrong_reply(const struct client *client, uint64_t number, const char *text, size_t length) {
  const size_t shown = length < 80 ? length : 80;
  fail("connection %u: wrong reply to request %llu: `%.*s`", client->connection.index,
       (unsigned long long)number, (int)shown, text);
}

/* A reply that is known: as far as it is there, it has to be that. */
static size_t expect(const struct client *client, uint64_t number, const char *expected, size_t size,
                     const char *text, size_t length) {
  const size_t there = length < size ? length : size;
  if (memcmp(text, expected, there) != 0) wrong_reply(client, number, text, length);
  return length < size ? 0 : size;
}

static unsigned key_of(const struct client *client, uint64_t number) {
  return (unsigned)((client->connection.index * 7919u + number) % KEYS);
}

static size_t redis_set(const struct client *client, uint64_t number, char *text) {
  const unsigned key = key_of(client, number);
  return (size_t)snprintf(text, REQUEST_MAX, "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012u\r\n$3\r\n%03u\r\n", key, key);
}

static size_t redis_get(const struct client *client, uint64_t number, char *text) {
  return (size_t)snprintf(text, REQUEST_MAX, "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012u\r\n", key_of(client, number));
}

static size_t redis_stored(const struct client *client, uint64_t number, const char *text, size_t length) {
  return expect(client, number, "+OK\r\n", 5, text, length);
}

static size_t redis_value(const struct client *client, uint64_t number, const char *text, size_t length) {
  char expected[16];
  const int size = snprintf(expected, sizeof expected, "$3\r\n%03u\r\n", key_of(client, number));
  return expect(client, number, expected, (size_t)size, text, length);
}

static size_t http_get(const struct client *client, uint64_t number, char *text) {
  (void)client;
  (void)number;
  static const char request[] = "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
  memcpy(text, request, sizeof request - 1);
  return sizeof request - 1;
}

/* Its head says how long the body is. */
static size_t http_page(const struct client *client, uint64_t number, const char *text, size_t length) {
  static const char status[] = "HTTP/1.1 200 ";
  static const char field[] = "\r\ncontent-length:";
  const char *const end = memmem(text, length, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  const size_t head = (size_t)(end - text) + 4;
  if (head < sizeof status || memcmp(text, status, sizeof status - 1) != 0) wrong_reply(client, number, text, length);
  size_t body = 0;
  for (const char *at = text; (at = memchr(at, '\r', (size_t)(end - at))) != NULL; at += 1) {
    if (strncasecmp(at, field, sizeof field - 1) != 0) continue;
    body = (size_t)strtoul(at + sizeof field - 1, NULL, 10);
    break;
  }
  if (body != sizeof HTTP_BODY - 1) wrong_reply(client, number, text, length);
  if (length < head + body) return 0;
  if (memcmp(text + head, HTTP_BODY, body) != 0) wrong_reply(client, number, text, length);
  return head + body;
}

static const struct conversation REDIS_SET = {redis_set, redis_stored};
static const struct conversation REDIS_GET = {redis_get, redis_value};
static const struct conversation HTTP = {http_get, http_page};

static void send_requests(struct requests *r, struct client *client, uint64_t count, uint64_t now) {
  struct connection *connection = &client->connection;
  size_t length = 0;
  for (uint64_t i = 0; i < count; i += 1) {
    connection->started[connection->issued % connection->ring] = now;
    length += r->conversation->request(client, connection->issued, r->outbox + length);
    connection->issued += 1;
  }
  const ssize_t taken = send(connection->fd, r->outbox, length, MSG_NOSIGNAL);
  if (taken != (ssize_t)length) fail("connection %u: send: %s", connection->index, strerror(errno));
  r->in_flight += count;
  r->result->sent += length;
}

/* Takes the replies that are whole. Their number. */
static uint64_t take_replies(struct requests *r, struct client *client, size_t length, uint64_t now) {
  struct connection *connection = &client->connection;
  size_t at = 0;
  uint64_t count = 0;
  while (at < length) {
    if (connection->completed == connection->issued) {
      fail("connection %u: more replies came than there were requests", connection->index);
    }
    const size_t size = r->conversation->reply(client, connection->completed, client->inbox + at, length - at);
    if (size == 0) break;
    at += size;
    count += 1;
    if (r->timing) {
      histogram_record(&r->result->latency, now - connection->started[connection->completed % connection->ring]);
      r->result->messages += 1;
      r->result->bytes += size;
    }
    connection->completed += 1;
  }
  if (at == 0 && length == INBOX) fail("connection %u: a reply without an end", connection->index);
  client->kept = length - at;
  memmove(client->inbox, client->inbox + at, client->kept);
  r->result->verified += at;
  r->in_flight -= count;
  return count;
}

static void on_readable(struct requests *r, struct client *client) {
  const ssize_t got =
      recv(client->connection.fd, client->inbox + client->kept, INBOX - client->kept, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    fail("connection %u: %s", client->connection.index,
         got == 0 ? "the server closed it" : strerror(errno));
  }
  const uint64_t now = now_ns();
  r->last_progress = now;
  const uint64_t count = take_replies(r, client, client->kept + (size_t)got, now);
  if (count > 0 && r->refill) send_requests(r, client, count, now);
}

static void turn(struct requests *r) {
  struct epoll_event events[EVENTS_MAX];
  const int count = epoll_wait(r->epoll_fd, events, EVENTS_MAX, POLL_MS);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i += 1) on_readable(r, events[i].data.ptr);
  if (now_ns() > r->last_progress + r->options->stall_ns) {
    fail("no reply for %.1f s with %llu requests in flight",
         (double)r->options->stall_ns / (double)NSEC_PER_SEC, (unsigned long long)r->in_flight);
  }
}

/* redis-get: there has to be something to get. */
static void store_all(struct requests *r) {
  r->conversation = &REDIS_SET;
  r->last_progress = now_ns();
  for (uint64_t i = 0; i < KEYS; i += 1) {
    send_requests(r, &r->clients[0], 1, now_ns());
    while (r->in_flight > 0) turn(r);
  }
}

static void open_all(struct requests *r) {
  const uint64_t count = r->options->connections;
  r->epoll_fd = epoll_open();
  r->clients = calloc((size_t)count, sizeof *r->clients);
  r->outbox = malloc((size_t)r->options->depth * REQUEST_MAX);
  if (r->clients == NULL || r->outbox == NULL) fail("out of memory for %llu clients", (unsigned long long)count);
  for (uint64_t i = 0; i < count; i += 1) {
    struct connection *connection = &r->clients[i].connection;
    connection->ring = r->options->depth;
    connection->started = calloc((size_t)connection->ring, sizeof *connection->started);
    if (connection->started == NULL) fail("out of memory");
    connection_open(connection, (uint32_t)i, r->options);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &r->clients[i]};
    if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
  }
}

void run_requests(const struct options *options, struct result *result) {
  struct requests r = {.options = options, .result = result};
  open_all(&r);
  if (options->protocol == PROTOCOL_REDIS_GET) store_all(&r);
  r.conversation = options->protocol == PROTOCOL_HTTP        ? &HTTP
               : options->protocol == PROTOCOL_REDIS_GET ? &REDIS_GET
                                                         : &REDIS_SET;
  r.refill = true;
  r.last_progress = now_ns();
  for (uint64_t i = 0; i < options->connections; i += 1) {
    send_requests(&r, &r.clients[i], options->depth, now_ns());
  }
  const uint64_t warm = now_ns() + options->warmup_ns;
  while (now_ns() < warm) turn(&r);

  r.timing = true;
  usage_read(options, &result->begin);
  const uint64_t deadline = result->begin.at_ns + options->duration_ns;
  while (now_ns() < deadline) turn(&r);
  usage_read(options, &result->end);

  r.timing = false;
  r.refill = false;
  while (r.in_flight > 0) turn(&r);
  for (uint64_t i = 0; i < options->connections; i += 1) {
    connection_close(&r.clients[i].connection);
    free(r.clients[i].connection.started);
  }
  free(r.clients);
  free(r.outbox);
}
