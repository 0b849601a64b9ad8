/*
 * The limit that the others are held against: a plain level-triggered epoll echo server. One recv
 * and one send per readiness, TCP_NODELAY, no batching. What the kernel doesn't take is kept per
 * connection, and reading stops until it has gone, so slow readers cost no memory beyond that.
 *
 * usage: c-epoll-echo [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "options.h"

#define BUFFER_BYTES 65536
#define EVENTS_MAX 512
#define BACKLOG 4096

struct client {
  int fd;
  char *pending; /* what a send left over; NULL: nothing */
  size_t pending_length;
};

static struct client listener;
static char buffer[BUFFER_BYTES];

static _Noreturn void die(const char *what) {
  fprintf(stderr, "c-epoll-echo: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void watch(int epoll_fd, struct client *client, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = client};
  if (epoll_ctl(epoll_fd, operation, client->fd, &event) != 0) die("epoll_ctl");
}

static void drop(struct client *client) {
  close(client->fd);
  free(client->pending);
  free(client);
}

static void accept_all(int epoll_fd) {
  for (;;) {
    const int fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      die("accept4");
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL) die("calloc");
    client->fd = fd;
    watch(epoll_fd, client, EPOLLIN, EPOLL_CTL_ADD);
  }
}

/* Sends; what is left over is kept and awaits writability. False when the connection is gone. */
static int send_or_keep(int epoll_fd, struct client *client, const char *bytes, size_t length) {
  const ssize_t taken = send(client->fd, bytes, length, MSG_NOSIGNAL);
  if (taken < 0 && errno != EAGAIN && errno != EINTR) return 0;
  const size_t done = taken < 0 ? 0 : (size_t)taken;
  char *old = client->pending;
  client->pending = NULL;
  if (done < length) {
    client->pending_length = length - done;
    client->pending = malloc(client->pending_length);
    if (client->pending == NULL) die("malloc");
    memcpy(client->pending, bytes + done, client->pending_length);
  }
  if ((old != NULL) != (client->pending != NULL)) {
    watch(epoll_fd, client, client->pending == NULL ? EPOLLIN : EPOLLOUT, EPOLL_CTL_MOD);
  }
  free(old);
  return 1;
}

static void serve(int epoll_fd, struct client *client, uint32_t events) {
  if (client->pending != NULL) {
    if (!send_or_keep(epoll_fd, client, client->pending, client->pending_length)) drop(client);
    return;
  }
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0) return;
  const ssize_t got = recv(client->fd, buffer, sizeof buffer, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0 || !send_or_keep(epoll_fd, client, buffer, (size_t)got)) drop(client);
}

static void listen_on(const char *host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
    fprintf(stderr, "c-epoll-echo: --host must be an IPv4 address; got '%s'\n", host);
    exit(2);
  }
  listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener.fd < 0) die("socket");
  const int on = 1;
  setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  socklen_t length = sizeof address;
  if (bind(listener.fd, (struct sockaddr *)&address, length) != 0) die("bind");
  if (listen(listener.fd, BACKLOG) != 0) die("listen");
  if (getsockname(listener.fd, (struct sockaddr *)&address, &length) != 0) die("getsockname");
  printf("listening on %s:%d\n", host, (int)ntohs(address.sin_port));
  fflush(stdout);
}

int main(int argc, char **argv) {
  const char *host = "127.0.0.1";
  int port = 0;
  read_options(argc, argv, "c-epoll-echo", &host, &port);
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* the runner's end is ours */
  listen_on(host, port);
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  watch(epoll_fd, &listener, EPOLLIN, EPOLL_CTL_ADD);
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    const int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i += 1) {
      struct client *client = events[i].data.ptr;
      if (client == &listener) accept_all(epoll_fd);
      else serve(epoll_fd, client, events[i].events);
    }
  }
}
