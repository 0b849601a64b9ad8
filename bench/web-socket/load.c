/*
 * A load of WebSockets, without a library of WebSockets: clients that send the same masked frame again and again.
 *
 *   load PORT echo|broadcast|idle CONNECTIONS SIZE SECONDS
 *
 * echo: each connection has one message in flight, and expects it back. broadcast: the first connection sends one, and
 * all of them get it, before the next is sent. idle: nothing is sent. It says `begin` when all is warm,
 * and `end N` with the number of messages, or deliveries, that came since.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 16)
#define EVENTS 512
/* Seconds: a compiler that works in the background is to be done by then. */
#define WARM_UP 6

struct client {
  int fd;
  size_t received; /* bytes of the frame that comes */
};

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec time;
  if (clock_gettime(CLOCK_MONOTONIC, &time) != 0) die("clock_gettime");
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int open_web_socket(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) die("socket");
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
  const int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) die("setsockopt");
  static const char request[] =
      "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
  if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1) die("send");
  char answer[1024];
  size_t length = 0;
  while (length < 4 || memcmp(answer + length - 4, "\r\n\r\n", 4) != 0) {
    if (length == sizeof answer || recv(fd, answer + length, 1, 0) != 1) die("no answer");
    length += 1;
  }
  if (memcmp(answer, "HTTP/1.1 101", 12) != 0) {
    fprintf(stderr, "load: refused: %.*s\n", (int)length, answer);
    exit(1);
  }
  return fd;
}

static size_t header_length(size_t size, bool masked) {
  return (size < 126 ? 2 : 4) + (masked ? 4 : 0);
}

static void send_frame(const struct client *client, const char *frame, size_t length) {
  if (send(client->fd, frame, length, MSG_NOSIGNAL) != (ssize_t)length) die("send");
}

int main(int count, char **arguments) {
  if (count != 6) {
    fprintf(stderr, "usage: load PORT echo|broadcast|idle CONNECTIONS SIZE SECONDS\n");
    return 2;
  }
  const int port = atoi(arguments[1]);
  const char *mode = arguments[2];
  const size_t connections = strtoul(arguments[3], NULL, 10);
  const size_t size = strtoul(arguments[4], NULL, 10);
  const double seconds = strtod(arguments[5], NULL);
  const bool echo = strcmp(mode, "echo") == 0;
  if (size < 1 || size > 60000) die("a size from 1 to 60000");

  struct client *clients = calloc(connections, sizeof *clients);
  const int epoll = epoll_create1(0);
  if (clients == NULL || epoll < 0) die("epoll_create1");
  for (size_t i = 0; i < connections; i++) {
    clients[i].fd = open_web_socket(port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event) != 0) die("epoll_ctl");
  }
  if (strcmp(mode, "idle") == 0) {
    printf("begin\n");
    fflush(stdout);
    usleep((useconds_t)(seconds * 1e6));
    printf("end %zu\n", connections);
    return 0;
  }

  /* A text; its mask is zero, which a server can't know before it has looked. */
  char frame[BUFFER] = {0};
  const size_t head = header_length(size, true);
  frame[0] = (char)0x81;
  frame[1] = (char)(0x80 | (size < 126 ? size : 126));
  if (size >= 126) {
    frame[2] = (char)(size >> 8);
    frame[3] = (char)(size & 255);
  }
  memset(frame + head, 'x', size);
  const size_t expected = header_length(size, false) + size;
  const size_t sent = head + size;

  for (size_t i = 0; i < (echo ? connections : 1); i++) send_frame(&clients[i], frame, sent);
  const double start = now() + WARM_UP;
  double end = 0;
  uint64_t messages = 0;
  size_t missing = connections; /* broadcast: so many have not got it yet */
  static char buffer[BUFFER];
  struct epoll_event events[EVENTS];
  for (;;) {
    const int ready = epoll_wait(epoll, events, EVENTS, 1000);
    if (ready < 0) die("epoll_wait");
    const double time = now();
    if (end == 0 && time >= start) {
      end = time + seconds;
      messages = 0;
      printf("begin\n");
      fflush(stdout);
    } else if (end != 0 && time >= end) {
      printf("end %llu\n", (unsigned long long)messages);
      return 0;
    }
    for (int i = 0; i < ready; i++) {
      struct client *client = events[i].data.ptr;
      const ssize_t got = recv(client->fd, buffer, sizeof buffer, 0);
      if (got <= 0) die("the server has closed");
      client->received += (size_t)got;
      while (client->received >= expected) {
        client->received -= expected;
        messages += 1;
        if (echo) {
          send_frame(client, frame, sent);
        } else if (--missing == 0) {
          missing = connections;
          send_frame(&clients[0], frame, sent);
        }
      }
    }
  }
}
