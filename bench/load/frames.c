/*
 * Mode `frames`: streams of frames, each with a length of 4 bytes before it, in pieces that have nothing
 * to do with them. The server says, each time that so many more frames have come, how many bytes it were.
 *
 * An open loop: pieces go out at a fixed rate, one on each connection and then a pause, so that one piece of
 * a connection has mostly been read before the next one comes. A message is a frame.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define HEADER 4u
/* So many frames are answered by one reply: its length, and the bytes so far, all big-endian. */
#define FRAMES_PER_REPLY 64u
#define REPLY 12u
/* The stream repeats after so many frames. */
#define FRAMES 4096u
/* Frames without a reply, per connection; beyond it the next piece waits. */
#define WINDOW 1024u
#define SPIN_BELOW_NS 2000000ull

/* 100 bytes on the average; no two in a row add up to a frame of 100. */
static const uint64_t PIECES[] = {37, 151, 97, 113, 61, 139, 89, 131, 73, 109};
#define PIECE_COUNT (sizeof PIECES / sizeof *PIECES)

struct stream {
  uint64_t piece;  /* of PIECES, the next one */
  uint64_t replied;
  unsigned char reply[REPLY];
  uint64_t begun;  /* bytes of a reply that is not whole */
};

struct frames {
  const struct options *options;
  struct result *result;
  struct connection *connections;
  struct stream *streams;
  unsigned char *bytes;
  uint64_t period;
  uint64_t begin;
  uint64_t pieces;
  int epoll_fd;
  bool timing;
};

static uint64_t number(const unsigned char *bytes, unsigned count) {
  uint64_t value = 0;
  for (unsigned i = 0; i < count; i += 1) value = value << 8 | bytes[i];
  return value;
}

static void make_stream(struct frames *f) {
  const uint64_t size = f->options->size;
  f->period = size * FRAMES;
  f->bytes = malloc(f->period * 2);
  if (f->bytes == NULL) fail("out of memory for the stream");
  for (uint64_t i = 0; i < FRAMES; i += 1) {
    unsigned char *frame = f->bytes + i * size;
    for (unsigned j = 0; j < HEADER; j += 1) frame[j] = (unsigned char)((size - HEADER) >> (8 * (3 - j)));
    memcpy(frame + HEADER, pattern_at(i * 131), size - HEADER);
  }
  memcpy(f->bytes + f->period, f->bytes, f->period);
}

static void reply_came(struct frames *f, struct connection *connection, struct stream *stream) {
  const uint64_t more = f->options->size * FRAMES_PER_REPLY;
  if (number(stream->reply, 4) != 8 || number(stream->reply + 4, 8) != stream->replied + more) {
    fail("connection %u: a wrong reply after %llu bytes", connection->index, (unsigned long long)stream->replied);
  }
  stream->replied += more;
  if (stream->replied > connection->sent) {
    fail("connection %u: a reply to what was not sent", connection->index);
  }
  f->result->verified += REPLY;
  if (!f->timing) return;
  const uint64_t now = now_ns();
  const uint64_t started = connection->started[(stream->replied / more) % connection->ring];
  f->result->messages += FRAMES_PER_REPLY;
  histogram_record(&f->result->latency, now > started ? now - started : 0);
}

static void receive(struct frames *f, struct connection *connection) {
  struct stream *stream = &f->streams[connection->index];
  unsigned char inbox[4096];
  const ssize_t got = recv(connection->fd, inbox, sizeof inbox, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) fail("connection %u: the server closed it", connection->index);
  for (ssize_t i = 0; i < got; i += 1) {
    stream->reply[stream->begun] = inbox[i];
    stream->begun += 1;
    if (stream->begun < REPLY) continue;
    stream->begun = 0;
    reply_came(f, connection, stream);
  }
}

static void send_piece(struct frames *f, struct connection *connection) {
  struct stream *stream = &f->streams[connection->index];
  const uint64_t size = f->options->size;
  if (connection->sent - stream->replied > WINDOW * size) return;
  const uint64_t length = PIECES[stream->piece % PIECE_COUNT];
  const unsigned char *from = f->bytes + connection->sent % f->period;
  const ssize_t taken = send(connection->fd, from, length, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (taken < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    fail("connection %u: send: %s", connection->index, strerror(errno));
  }
  const uint64_t more = size * FRAMES_PER_REPLY;
  const uint64_t before = connection->sent / more;
  connection->sent += (uint64_t)taken;
  stream->piece += 1;
  if (connection->sent / more > before) connection->started[(connection->sent / more) % connection->ring] = now_ns();
}

static uint64_t due_at(const struct frames *f) {
  return f->begin + (uint64_t)((double)f->pieces * 1e9 / (double)f->options->rate);
}

static void run_until(struct frames *f, uint64_t deadline) {
  struct epoll_event events[EVENTS_MAX];
  for (uint64_t now = now_ns(); now < deadline; now = now_ns()) {
    while (due_at(f) <= now) {
      for (uint64_t i = 0; i < f->options->connections; i += 1) send_piece(f, &f->connections[i]);
      f->pieces += f->options->connections;
    }
    const int wait_ms = due_at(f) > now + SPIN_BELOW_NS ? 1 : 0;
    const int count = epoll_wait(f->epoll_fd, events, EVENTS_MAX, wait_ms);
    if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i += 1) receive(f, events[i].data.ptr);
  }
}

/* What was sent before the end is answered, in time. */
static void drain(struct frames *f) {
  const uint64_t more = f->options->size * FRAMES_PER_REPLY;
  const uint64_t deadline = now_ns() + f->options->stall_ns;
  f->timing = false;
  for (uint64_t i = 0; i < f->options->connections; i += 1) {
    struct connection *connection = &f->connections[i];
    while (f->streams[i].replied < connection->sent / more * more) {
      receive(f, connection);
      if (now_ns() > deadline) fail("connection %u: no reply in time", connection->index);
    }
    f->result->sent += connection->sent;
  }
}

void run_frames(const struct options *options, struct result *result) {
  struct frames f = {.options = options, .result = result, .epoll_fd = epoll_open()};
  make_stream(&f);
  f.streams = calloc(options->connections, sizeof *f.streams);
  f.connections = calloc(options->connections, sizeof *f.connections);
  if (f.streams == NULL || f.connections == NULL) fail("out of memory");
  for (uint64_t i = 0; i < options->connections; i += 1) {
    f.connections[i].ring = 2 * WINDOW / FRAMES_PER_REPLY;
    f.connections[i].started = calloc(f.connections[i].ring, sizeof(uint64_t));
    if (f.connections[i].started == NULL) fail("out of memory");
    connection_open(&f.connections[i], (uint32_t)i, options);
    connection_watch(&f.connections[i], f.epoll_fd, EPOLLIN);
    f.streams[i].piece = i;
  }
  f.begin = now_ns();
  run_until(&f, f.begin + options->warmup_ns);
  f.timing = true;
  usage_read(options, &result->begin);
  run_until(&f, result->begin.at_ns + options->duration_ns);
  usage_read(options, &result->end);
  result->bytes = result->messages * options->size;
  drain(&f);
  connections_close(f.connections, options->connections);
  free(f.streams);
  free(f.bytes);
}
