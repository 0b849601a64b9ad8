/*
 * Mode `mqtt`: one client publishes, `connections` others subscribe (MQTT 3.1.1, QoS 0 or 1).
 *
 * With one topic, all subscribe to it. With more, topics are `bench/A/B` in a square, and filters have
 * wildcards: every other subscriber has `bench/+/B`, the others `bench/A/#`, in turns; so each message reaches a
 * tenth of them or so. At most `depth` publications are on their way at a time: not heard by all who are to hear
 * them or, with QoS 1, not acknowledged. A "message" of this mode is a publication that reached one subscriber;
 * latency is from its sending to there.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define POLL_MS 100
#define INBOX 65536u
#define PACKET_MAX 2048u
#define TOPIC_MAX 64u
#define NUMBER_DIGITS 12

enum packet { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90 };
enum stage { STAGE_CONNECTING, STAGE_SUBSCRIBING, STAGE_READY };

struct peer {
  struct connection connection; /* only its socket is used */
  enum stage stage;
  uint64_t next;                /* the least publication that it may hear now */
  size_t kept;                  /* bytes of a packet that is not whole yet */
  unsigned char inbox[INBOX];
};

struct publication {
  uint64_t left; /* who has not heard it, or acknowledged it */
  uint64_t started;
};

struct mqtt {
  const struct options *options;
  struct result *result;
  struct peer *subscribers;
  struct peer *publisher;
  struct publication *publications; /* the last `depth` ones */
  uint64_t *receivers;              /* for each topic */
  uint64_t side;                    /* of the square of topics */
  int epoll_fd;
  bool timing, publishing;
  uint64_t published, complete, acknowledged;
  uint64_t last_progress;
};

static int topic_text(const struct mqtt *m, uint64_t topic, char *text) {
  if (m->side == 1) return snprintf(text, TOPIC_MAX, "bench/all");
  return snprintf(text, TOPIC_MAX, "bench/%llu/%llu", (unsigned long long)(topic / m->side),
                  (unsigned long long)(topic % m->side));
}

static int filter_text(const struct mqtt *m, uint64_t subscriber, char *text) {
  if (m->side == 1) return topic_text(m, 0, text);
  const unsigned long long part = subscriber / 2 % m->side;
  return subscriber % 2 == 0 ? snprintf(text, TOPIC_MAX, "bench/+/%llu", part)
                             : snprintf(text, TOPIC_MAX, "bench/%llu/#", part);
}

static bool hears(const struct mqtt *m, uint64_t subscriber, uint64_t topic) {
  if (m->side == 1) return true;
  return subscriber / 2 % m->side == (subscriber % 2 == 0 ? topic % m->side : topic / m->side);
}

static uint64_t topic_of(const struct mqtt *m, uint64_t publication) {
  return publication % (m->side * m->side);
}

static void send_all(struct peer *peer, const unsigned char *bytes, size_t length) {
  const ssize_t taken = send(peer->connection.fd, bytes, length, MSG_NOSIGNAL);
  if (taken != (ssize_t)length) fail("client %u: send: %s", peer->connection.index, strerror(errno));
}

/* A packet's first byte and length, for what is behind it; the length of both. */
static size_t head(unsigned char *packet, unsigned char type, size_t length) {
  size_t at = 0;
  packet[at++] = type;
  do {
    packet[at++] = (unsigned char)((length & 127) | (length > 127 ? 128 : 0));
    length >>= 7;
  } while (length > 0);
  return at;
}

static size_t put_text(unsigned char *at, const char *text, size_t length) {
  at[0] = (unsigned char)(length >> 8);
  at[1] = (unsigned char)length;
  memcpy(at + 2, text, length);
  return length + 2;
}

static void send_connect(struct peer *peer) {
  unsigned char packet[PACKET_MAX];
  char id[32];
  const size_t length = (size_t)snprintf(id, sizeof id, "bench%u", peer->connection.index);
  /* Protocol, level 4, a clean session, no keep-alive. */
  static const unsigned char start[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0};
  size_t at = head(packet, CONNECT, sizeof start + 2 + length);
  memcpy(packet + at, start, sizeof start);
  at += sizeof start;
  at += put_text(packet + at, id, length);
  send_all(peer, packet, at);
}

static void send_subscribe(const struct mqtt *m, struct peer *peer) {
  unsigned char packet[PACKET_MAX];
  char filter[TOPIC_MAX];
  const size_t length = (size_t)filter_text(m, peer->connection.index, filter);
  size_t at = head(packet, SUBSCRIBE, 2 + 2 + length + 1);
  packet[at++] = 0;
  packet[at++] = 1;
  at += put_text(packet + at, filter, length);
  packet[at++] = (unsigned char)m->options->qos;
  send_all(peer, packet, at);
}

static void publish(struct mqtt *m, uint64_t now) {
  unsigned char packet[PACKET_MAX + 1024];
  char topic[TOPIC_MAX];
  const uint64_t number = m->published;
  const bool qos = m->options->qos > 0;
  const size_t size = (size_t)m->options->size;
  const size_t length = (size_t)topic_text(m, topic_of(m, number), topic);
  size_t at = head(packet, (unsigned char)(PUBLISH | (qos ? 2 : 0)), 2 + length + (qos ? 2 : 0) + size);
  at += put_text(packet + at, topic, length);
  if (qos) {
    const uint64_t id = number % 65535 + 1;
    packet[at++] = (unsigned char)(id >> 8);
    packet[at++] = (unsigned char)id;
  }
  char digits[NUMBER_DIGITS + 1];
  snprintf(digits, sizeof digits, "%0*llu", NUMBER_DIGITS, (unsigned long long)number);
  memset(packet + at, 'x', size);
  memcpy(packet + at, digits, NUMBER_DIGITS);
  struct publication *publication = &m->publications[number % m->options->depth];
  publication->left = m->receivers[topic_of(m, number)] + (qos ? 1 : 0);
  publication->started = now;
  m->published += 1;
  m->result->sent += at + size;
  send_all(m->publisher, packet, at + size);
}

static void count_down(struct mqtt *m, uint64_t number) {
  struct publication *publication = &m->publications[number % m->options->depth];
  if (publication->left == 0) fail("publication %llu came more often than it should", (unsigned long long)number);
  publication->left -= 1;
  if (publication->left > 0) return;
  m->complete += 1;
}

static _Noreturn void wrong_packet(const struct peer *peer, const unsigned char *packet) {
  fail("client %u: an unexpected packet, 0x%02x", peer->connection.index, packet[0]);
}

/* What a subscriber hears. The packet identifier; 0: without. */
static unsigned on_publish(struct mqtt *m, struct peer *peer, const unsigned char *packet, const unsigned char *body,
                           size_t length) {
  const unsigned qos = packet[0] >> 1 & 3;
  const size_t topic_length = length < 2 ? 0 : (size_t)(body[0] << 8 | body[1]);
  const size_t before = 2 + topic_length + (qos > 0 ? 2u : 0u);
  if (qos != m->options->qos || length != before + m->options->size) wrong_packet(peer, packet);
  char digits[NUMBER_DIGITS + 1] = {0};
  memcpy(digits, body + before, NUMBER_DIGITS);
  const uint64_t number = strtoull(digits, NULL, 10);
  char topic[TOPIC_MAX];
  const uint64_t sent = topic_of(m, number);
  const bool right = number >= peer->next && number < m->published && number + m->options->depth >= m->published &&
                     hears(m, peer->connection.index, sent) && (size_t)topic_text(m, sent, topic) == topic_length &&
                     memcmp(topic, body + 2, topic_length) == 0;
  if (!right) {
    fail("client %u: heard publication %llu of %llu on `%.*s`", peer->connection.index, (unsigned long long)number,
         (unsigned long long)m->published, (int)topic_length, (const char *)body + 2);
  }
  peer->next = number + 1;
  m->result->verified += m->options->size;
  if (m->timing) {
    histogram_record(&m->result->latency, now_ns() - m->publications[number % m->options->depth].started);
    m->result->messages += 1;
  }
  count_down(m, number);
  return qos == 0 ? 0 : (unsigned)(body[before - 2] << 8 | body[before - 1]);
}

/* One packet; what it is answered with is added to the acknowledgements. */
static void on_packet(struct mqtt *m, struct peer *peer, const unsigned char *packet, const unsigned char *body,
                      size_t length, unsigned char *answers, size_t *answered) {
  const unsigned char type = packet[0] & 0xf0;
  if (peer->stage == STAGE_CONNECTING) {
    if (type != CONNACK || length != 2 || body[1] != 0) wrong_packet(peer, packet);
    peer->stage = peer == m->publisher ? STAGE_READY : STAGE_SUBSCRIBING;
    if (peer->stage == STAGE_SUBSCRIBING) send_subscribe(m, peer);
  } else if (peer->stage == STAGE_SUBSCRIBING) {
    if (type != SUBACK || length != 3 || body[2] != m->options->qos) wrong_packet(peer, packet);
    peer->stage = STAGE_READY;
  } else if (peer == m->publisher) {
    const uint64_t expected = m->acknowledged % 65535 + 1;
    if (type != PUBACK || length != 2 || (uint64_t)(body[0] << 8 | body[1]) != expected) wrong_packet(peer, packet);
    count_down(m, m->acknowledged);
    m->acknowledged += 1;
  } else {
    if (type != PUBLISH) wrong_packet(peer, packet);
    const unsigned id = on_publish(m, peer, packet, body, length);
    if (id == 0) return;
    const unsigned char puback[] = {PUBACK, 2, (unsigned char)(id >> 8), (unsigned char)id};
    memcpy(answers + *answered, puback, sizeof puback);
    *answered += sizeof puback;
  }
}

/* The length of a packet's first bytes and of what follows; false: not all of it is there. */
static bool packet_there(const struct peer *peer, const unsigned char *bytes, size_t there, size_t *start, size_t *length) {
  size_t size = 0;
  for (size_t i = 1; i < 5; i += 1) {
    if (i >= there) return false;
    size |= (size_t)(bytes[i] & 127) << (7 * (i - 1));
    if (bytes[i] < 128) {
      *start = i + 1;
      *length = size;
      if (*start + size > INBOX) fail("client %u: a packet of %zu bytes", peer->connection.index, size);
      return *start + size <= there;
    }
  }
  fail("client %u: a packet without a length", peer->connection.index);
}

static void on_readable(struct mqtt *m, struct peer *peer) {
  static unsigned char answers[INBOX * 4];
  size_t answered = 0;
  const ssize_t got = recv(peer->connection.fd, peer->inbox + peer->kept, INBOX - peer->kept, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    fail("client %u: %s", peer->connection.index, got == 0 ? "the server closed its connection" : strerror(errno));
  }
  m->last_progress = now_ns();
  const size_t there = peer->kept + (size_t)got;
  size_t at = 0;
  size_t start = 0;
  size_t length = 0;
  while (packet_there(peer, peer->inbox + at, there - at, &start, &length)) {
    on_packet(m, peer, peer->inbox + at, peer->inbox + at + start, length, answers, &answered);
    at += start + length;
  }
  peer->kept = there - at;
  memmove(peer->inbox, peer->inbox + at, peer->kept);
  if (answered > 0) send_all(peer, answers, answered);
}

/* The oldest publication may be complete: then there is room for others. */
static void go_on(struct mqtt *m) {
  const uint64_t depth = m->options->depth;
  while (m->publishing && (m->published < depth || m->publications[m->published % depth].left == 0)) {
    publish(m, now_ns());
  }
}

static void turn(struct mqtt *m) {
  struct epoll_event events[EVENTS_MAX];
  const int count = epoll_wait(m->epoll_fd, events, EVENTS_MAX, POLL_MS);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i += 1) on_readable(m, events[i].data.ptr);
  go_on(m);
  if (now_ns() > m->last_progress + m->options->stall_ns) {
    fail("nothing heard for %.1f s: %llu publications, %llu heard by all",
         (double)m->options->stall_ns / (double)NSEC_PER_SEC, (unsigned long long)m->published,
         (unsigned long long)m->complete);
  }
}

static void join(struct mqtt *m, struct peer *peer, uint64_t index) {
  connection_open(&peer->connection, (uint32_t)index, m->options);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
  if (epoll_ctl(m->epoll_fd, EPOLL_CTL_ADD, peer->connection.fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
  m->last_progress = now_ns();
  send_connect(peer);
  while (peer->stage != STAGE_READY) turn(m);
}

static void count_receivers(struct mqtt *m) {
  for (uint64_t topic = 0; topic < m->side * m->side; topic += 1) {
    for (uint64_t i = 0; i < m->options->connections; i += 1) m->receivers[topic] += hears(m, i, topic) ? 1 : 0;
    if (m->receivers[topic] == 0) fail("nobody would hear topic %llu: more --connections", (unsigned long long)topic);
  }
}

void run_mqtt(const struct options *options, struct result *result) {
  const uint64_t count = options->connections;
  struct mqtt m = {.options = options, .result = result, .epoll_fd = epoll_open()};
  while ((m.side + 1) * (m.side + 1) <= options->topics) m.side += 1;
  m.subscribers = calloc((size_t)count + 1, sizeof *m.subscribers);
  m.publications = calloc((size_t)options->depth, sizeof *m.publications);
  m.receivers = calloc((size_t)(m.side * m.side), sizeof *m.receivers);
  if (m.subscribers == NULL || m.publications == NULL || m.receivers == NULL) fail("out of memory");
  m.publisher = &m.subscribers[count];
  count_receivers(&m);
  for (uint64_t i = 0; i <= count; i += 1) join(&m, &m.subscribers[i], i);

  m.publishing = true;
  go_on(&m);
  const uint64_t warm = now_ns() + options->warmup_ns;
  while (now_ns() < warm) turn(&m);
  m.timing = true;
  usage_read(options, &result->begin);
  const uint64_t deadline = result->begin.at_ns + options->duration_ns;
  while (now_ns() < deadline) turn(&m);
  usage_read(options, &result->end);
  result->bytes = result->messages * options->size;

  m.timing = false;
  m.publishing = false;
  while (m.complete < m.published) turn(&m);
  for (uint64_t i = 0; i <= count; i += 1) connection_close(&m.subscribers[i].connection);
  free(m.subscribers);
  free(m.publications);
  free(m.receivers);
}
