/*
 * What OpenSSL itself costs: the plain epoll echo server with TLS, by the machine's OpenSSL. What the kernel
 * doesn't take ends the connection, as this load never sends more than it reads.
 *
 * usage: c-tls-echo --cert FILE --key FILE [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`, or
 * `skip: REASON` where there is no OpenSSL.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
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

#define BUFFER_BYTES 65536
#define EVENTS_MAX 512
#define BACKLOG 4096
#define FILETYPE_PEM 1
#define SSL_WANT_READ 2
#define SSL_WANT_WRITE 3

struct client {
  int fd;
  void *ssl;
};

static struct {
  const void *(*server_method)(void);
  void *(*context_new)(const void *method);
  int (*use_certificate)(void *context, const char *file);
  int (*use_key)(void *context, const char *file, int type);
  void *(*ssl_new)(void *context);
  void (*ssl_free)(void *ssl);
  int (*set_fd)(void *ssl, int fd);
  void (*accept_state)(void *ssl);
  int (*read)(void *ssl, void *bytes, int length);
  int (*write)(void *ssl, const void *bytes, int length);
  int (*get_error)(const void *ssl, int result);
} api;

static struct client listener;
static void *context;
static char buffer[BUFFER_BYTES];

static _Noreturn void die(const char *what) {
  fprintf(stderr, "c-tls-echo: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void find(void *library, const char *name, void *function) {
  void *found = dlsym(library, name);
  if (found == NULL) die(name);
  memcpy(function, &found, sizeof found);
}

static void tls_init(const char *cert, const char *key) {
  void *library = dlopen("libssl.so.3", RTLD_NOW);
  if (library == NULL) {
    printf("skip: %s\n", dlerror());
    exit(1);
  }
  find(library, "TLS_server_method", &api.server_method);
  find(library, "SSL_CTX_new", &api.context_new);
  find(library, "SSL_CTX_use_certificate_chain_file", &api.use_certificate);
  find(library, "SSL_CTX_use_PrivateKey_file", &api.use_key);
  find(library, "SSL_new", &api.ssl_new);
  find(library, "SSL_free", &api.ssl_free);
  find(library, "SSL_set_fd", &api.set_fd);
  find(library, "SSL_set_accept_state", &api.accept_state);
  find(library, "SSL_read", &api.read);
  find(library, "SSL_write", &api.write);
  find(library, "SSL_get_error", &api.get_error);
  context = api.context_new(api.server_method());
  if (context == NULL || api.use_certificate(context, cert) != 1 ||
      api.use_key(context, key, FILETYPE_PEM) != 1) {
    die("the certificate or its key");
  }
}

static void watch(int epoll_fd, struct client *client, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = client};
  if (epoll_ctl(epoll_fd, operation, client->fd, &event) != 0) die("epoll_ctl");
}

static void drop(struct client *client) {
  api.ssl_free(client->ssl);
  close(client->fd);
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
    client->ssl = api.ssl_new(context);
    if (client->ssl == NULL || api.set_fd(client->ssl, fd) != 1) die("SSL_new");
    api.accept_state(client->ssl);
    watch(epoll_fd, client, EPOLLIN, EPOLL_CTL_ADD);
  }
}

static void serve(struct client *client) {
  for (;;) {
    const int got = api.read(client->ssl, buffer, sizeof buffer);
    if (got <= 0) {
      if (api.get_error(client->ssl, got) != SSL_WANT_READ) drop(client);
      return;
    }
    if (api.write(client->ssl, buffer, got) != got) {
      drop(client);
      return;
    }
  }
}

static void listen_on(const char *host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
    fprintf(stderr, "c-tls-echo: --host must be an IPv4 address; got '%s'\n", host);
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
  const char *cert = NULL;
  const char *key = NULL;
  int port = 0;
  for (int i = 1; i < argc; i += 2) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (value != NULL && strcmp(argv[i], "--host") == 0) {
      host = value;
    } else if (value != NULL && strcmp(argv[i], "--port") == 0) {
      port = atoi(value);
    } else if (value != NULL && strcmp(argv[i], "--cert") == 0) {
      cert = value;
    } else if (value != NULL && strcmp(argv[i], "--key") == 0) {
      key = value;
    } else {
      cert = NULL;
      break;
    }
  }
  if (cert == NULL || key == NULL) {
    fprintf(stderr, "usage: c-tls-echo --cert FILE --key FILE [--host ADDRESS] [--port PORT]\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* the runner's end is ours */
  signal(SIGPIPE, SIG_IGN);
  tls_init(cert, key);
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
      else serve(client);
    }
  }
}
