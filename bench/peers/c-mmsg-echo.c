/*
 * The limit for datagrams: a UDP echo server that takes and gives as many datagrams per system call
 * as there are: epoll, recvmmsg, sendmmsg. What the kernel doesn't take at once waits until it does,
 * and nothing is received meanwhile.
 *
 * usage: c-mmsg-echo [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "options.h"

#define BATCH 64
#define DATAGRAM_MAX 65535

static char buffers[BATCH][DATAGRAM_MAX];
static struct sockaddr_in senders[BATCH];
static struct iovec pieces[BATCH];
static struct mmsghdr messages[BATCH];

static _Noreturn void die(const char *what) {
  fprintf(stderr, "c-mmsg-echo: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int open_on(const char *host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
    fprintf(stderr, "c-mmsg-echo: --host must be an IPv4 address; got '%s'\n", host);
    exit(2);
  }
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr *)&address, length) != 0) die("bind");
  if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) die("getsockname");
  printf("listening on %s:%d\n", host, (int)ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static void wait_for(int epoll_fd, int fd, uint32_t wanted) {
  static uint32_t watching;
  if (watching != wanted) {
    struct epoll_event event = {.events = wanted, .data.fd = fd};
    const int operation = watching == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(epoll_fd, operation, fd, &event) != 0) die("epoll_ctl");
    watching = wanted;
  }
  struct epoll_event event;
  if (epoll_wait(epoll_fd, &event, 1, -1) < 0 && errno != EINTR) die("epoll_wait");
}

static int receive_all(int fd) {
  for (int i = 0; i < BATCH; i += 1) {
    pieces[i] = (struct iovec){.iov_base = buffers[i], .iov_len = DATAGRAM_MAX};
    messages[i].msg_hdr = (struct msghdr){.msg_name = &senders[i],
                                          .msg_namelen = sizeof senders[i],
                                          .msg_iov = &pieces[i],
                                          .msg_iovlen = 1};
  }
  const int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
  if (count < 0 && errno != EAGAIN && errno != EINTR) die("recvmmsg");
  return count;
}

static void send_all(int epoll_fd, int fd, int count) {
  for (int i = 0; i < count; i += 1) pieces[i].iov_len = messages[i].msg_len;
  int done = 0;
  while (done < count) {
    const int taken = sendmmsg(fd, messages + done, (unsigned)(count - done), MSG_DONTWAIT);
    if (taken > 0) done += taken;
    else if (errno == EAGAIN) wait_for(epoll_fd, fd, EPOLLOUT);
    else if (errno != EINTR) done += 1; /* this one can't be sent, as its receiver is gone */
  }
}

int main(int argc, char **argv) {
  const char *host = "127.0.0.1";
  int port = 0;
  read_options(argc, argv, "c-mmsg-echo", &host, &port);
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* the runner's end is ours */
  const int fd = open_on(host, port);
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  for (;;) {
    wait_for(epoll_fd, fd, EPOLLIN);
    /* A batch that isn't full says that there is nothing more. */
    int count = BATCH;
    while (count == BATCH) {
      count = receive_all(fd);
      if (count > 0) send_all(epoll_fd, fd, count);
    }
  }
}
