/*
 * Mode `chat`: N members of a chat, of whom the first one speaks.
 *
 * The server greets a newcomer with `You are NAME.`, tells everybody of everybody else
 * (`NAME arrived.`), and sends each line that a member says to all, its speaker included, as
 * `NAME: line`. So each member first hears N lines; then the speaker speaks, with at most `depth`
 * lines that not all have heard. Lines are numbered, and each one that comes is compared with what
 * it must be. A "message" of this mode is a line that reached one member; latency is from its
 * sending to there.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define POLL_MS 100
#define NAME_MAX_BYTES 64
#define LINE_MAX_BYTES (NAME_MAX_BYTES + 2 + 1024)
#define INBOX 65536

struct member {
  struct connection connection; /* only its socket is used: what comes differs from what was sent */
  uint64_t heard;               /* lines, greeting and arrivals included */
  size_t partial;
  char line[LINE_MAX_BYTES];    /* the beginning of a line that has not ended yet */
};

struct chat {
  const struct options *options;
  struct result *result;
  struct member *members;
  int epoll_fd;
  bool timing, speaking;
  uint64_t spoken;     /* lines said */
  uint64_t *deliveries; /* of the last `depth` lines: members that have heard it */
  uint64_t *started;
  uint64_t complete;   /* lines that everybody has heard */
  uint64_t greeted;    /* members that have heard of all the others */
  uint64_t last_progress;
  char name[NAME_MAX_BYTES];
};

/* Line `number`, with its line end. */
static void line_text(const struct chat *chat, uint64_t number, char *text) {
  const size_t size = (size_t)chat->options->size;
  const int digits = snprintf(text, size, "%012llu ", (unsigned long long)number);
  memset(text + digits, 'x', size - (size_t)digits);
  text[size - 1] = '\n';
}

static void speak(struct chat *chat) {
  char text[LINE_MAX_BYTES];
  line_text(chat, chat->spoken, text);
  const uint64_t slot = chat->spoken % chat->options->depth;
  chat->deliveries[slot] = 0;
  chat->started[slot] = now_ns();
  chat->spoken += 1;
  const size_t size = (size_t)chat->options->size;
  const int fd = chat->members[0].connection.fd;
  const ssize_t taken = send(fd, text, size, MSG_NOSIGNAL);
  if (taken != (ssize_t)size) fail("the speaker: send: %s", strerror(errno));
  chat->result->sent += size;
}

/* The greeting and the arrivals. */
static void on_introduction(struct chat *chat, struct member *member, const char *line,
                            size_t length) {
  const uint32_t index = member->connection.index;
  if (member->heard == 0) {
    static const char greeting[] = "You are ";
    const size_t before = sizeof greeting - 1;
    const bool fits = length > before + 1 && length - before - 1 < NAME_MAX_BYTES;
    if (!fits || memcmp(line, greeting, before) != 0 || line[length - 1] != '.') {
      fail("member %u: expected `You are NAME.`, got `%.*s`", index, (int)length, line);
    }
    if (index == 0) snprintf(chat->name, sizeof chat->name, "%.*s",
                             (int)(length - before - 1), line + before);
  } else if (length < 9 || memcmp(line + length - 9, " arrived.", 9) != 0) {
    fail("member %u: expected `NAME arrived.`, got `%.*s`", index, (int)length, line);
  }
  member->heard += 1;
  if (member->heard == chat->options->connections) chat->greeted += 1;
}

static void on_speech(struct chat *chat, struct member *member, const char *line, size_t length) {
  const uint64_t number = member->heard - chat->options->connections;
  char expected[LINE_MAX_BYTES];
  const int prefix = snprintf(expected, sizeof expected, "%s: ", chat->name);
  line_text(chat, number, expected + prefix);
  const size_t expected_length = (size_t)prefix + (size_t)chat->options->size - 1;
  if (number >= chat->spoken || length != expected_length || memcmp(line, expected, length) != 0) {
    fail("member %u: wrong line %llu: `%.*s`", member->connection.index,
         (unsigned long long)number, (int)length, line);
  }
  member->heard += 1;
  chat->result->verified += length + 1;
  const uint64_t slot = number % chat->options->depth;
  if (chat->timing) {
    histogram_record(&chat->result->latency, now_ns() - chat->started[slot]);
    chat->result->messages += 1;
  }
  chat->deliveries[slot] += 1;
  if (chat->deliveries[slot] < chat->options->connections) return;
  chat->complete += 1;
  if (chat->speaking) speak(chat);
}

static void on_line(struct chat *chat, struct member *member, const char *line, size_t length) {
  if (member->heard < chat->options->connections) on_introduction(chat, member, line, length);
  else on_speech(chat, member, line, length);
}

static void on_readable(struct chat *chat, struct member *member) {
  static char inbox[INBOX];
  const ssize_t got = recv(member->connection.fd, inbox, sizeof inbox, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    fail("member %u: %s", member->connection.index,
         got == 0 ? "the server closed its connection" : strerror(errno));
  }
  chat->last_progress = now_ns();
  const char *at = inbox;
  const char *const end = inbox + got;
  while (at < end) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    const size_t piece = (size_t)((newline == NULL ? end : newline) - at);
    if (member->partial + piece > sizeof member->line) fail("a line without an end");
    if (newline != NULL && member->partial == 0) {
      on_line(chat, member, at, piece);
    } else {
      memcpy(member->line + member->partial, at, piece);
      member->partial += piece;
      if (newline != NULL) {
        const size_t length = member->partial;
        member->partial = 0;
        on_line(chat, member, member->line, length);
      }
    }
    at += piece + 1;
  }
}

static void turn(struct chat *chat) {
  struct epoll_event events[EVENTS_MAX];
  const int count = epoll_wait(chat->epoll_fd, events, EVENTS_MAX, POLL_MS);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i += 1) on_readable(chat, events[i].data.ptr);
  if (now_ns() > chat->last_progress + chat->options->stall_ns) {
    fail("nothing heard for %.1f s: %llu of %llu members greeted, %llu lines said, %llu heard",
         (double)chat->options->stall_ns / (double)NSEC_PER_SEC,
         (unsigned long long)chat->greeted, (unsigned long long)chat->options->connections,
         (unsigned long long)chat->spoken, (unsigned long long)chat->complete);
  }
}

/* One after the other, each greeted before the next one comes. */
static void join(struct chat *chat) {
  const uint64_t count = chat->options->connections;
  chat->last_progress = now_ns();
  for (uint64_t i = 0; i < count; i += 1) {
    struct member *member = &chat->members[i];
    connection_open(&member->connection, (uint32_t)i, chat->options);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};
    if (epoll_ctl(chat->epoll_fd, EPOLL_CTL_ADD, member->connection.fd, &event) != 0) {
      fail("epoll_ctl: %s", strerror(errno));
    }
    while (member->heard == 0) turn(chat);
  }
  while (chat->greeted < count) turn(chat);
}

void run_chat(const struct options *options, struct result *result) {
  struct chat chat = {.options = options, .result = result, .epoll_fd = epoll_open()};
  chat.members = calloc((size_t)options->connections, sizeof *chat.members);
  chat.deliveries = calloc((size_t)options->depth, sizeof *chat.deliveries);
  chat.started = calloc((size_t)options->depth, sizeof *chat.started);
  if (chat.members == NULL || chat.deliveries == NULL || chat.started == NULL) {
    fail("out of memory for %llu members", (unsigned long long)options->connections);
  }
  join(&chat);
  chat.speaking = true;
  for (uint64_t i = 0; i < options->depth; i += 1) speak(&chat);
  const uint64_t warm = now_ns() + options->warmup_ns;
  while (now_ns() < warm) turn(&chat);

  chat.timing = true;
  usage_read(options, &result->begin);
  const uint64_t deadline = result->begin.at_ns + options->duration_ns;
  while (now_ns() < deadline) turn(&chat);
  usage_read(options, &result->end);
  result->bytes = result->messages * options->size;

  chat.timing = false;
  chat.speaking = false;
  while (chat.complete < chat.spoken) turn(&chat);
  for (uint64_t i = 0; i < options->connections; i += 1) {
    connection_close(&chat.members[i].connection);
  }
  free(chat.members);
  free(chat.deliveries);
  free(chat.started);
}
