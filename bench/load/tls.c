/*
 * TLS for connections, by the machine's OpenSSL, which is looked for when it is asked for: the load
 * generator is built without it.
 */
#include "load.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#define SSL_WANT_READ 2
#define SSL_WANT_WRITE 3
#define SSL_ZERO_RETURN 6

static struct {
  const void *(*client_method)(void);
  void *(*context_new)(const void *method);
  void *(*ssl_new)(void *context);
  void (*ssl_free)(void *ssl);
  int (*set_fd)(void *ssl, int fd);
  int (*connect)(void *ssl);
  int (*read)(void *ssl, void *bytes, int length);
  int (*write)(void *ssl, const void *bytes, int length);
  int (*get_error)(const void *ssl, int result);
} api;
static void *context;

static void find(void *library, const char *name, void *function) {
  void *found = dlsym(library, name);
  if (found == NULL) fail("--tls: OpenSSL has no %s", name);
  memcpy(function, &found, sizeof found);
}

/* The server's certificate is not looked at. */
static void tls_init(void) {
  void *library = dlopen("libssl.so.3", RTLD_NOW);
  if (library == NULL) fail("--tls: %s", dlerror());
  find(library, "TLS_client_method", &api.client_method);
  find(library, "SSL_CTX_new", &api.context_new);
  find(library, "SSL_new", &api.ssl_new);
  find(library, "SSL_free", &api.ssl_free);
  find(library, "SSL_set_fd", &api.set_fd);
  find(library, "SSL_connect", &api.connect);
  find(library, "SSL_read", &api.read);
  find(library, "SSL_write", &api.write);
  find(library, "SSL_get_error", &api.get_error);
  context = api.context_new(api.client_method());
  if (context == NULL) fail("--tls: SSL_CTX_new failed");
}

void tls_open(struct connection *connection) {
  if (context == NULL) tls_init();
  connection->tls = api.ssl_new(context);
  if (connection->tls == NULL || api.set_fd(connection->tls, connection->fd) != 1 ||
      api.connect(connection->tls) != 1) {
    fail("connection %u: the TLS handshake failed", connection->index);
  }
  if (fcntl(connection->fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl: %s", strerror(errno));
}

/* As recv and send say it. */
static ssize_t result_of(const struct connection *connection, int result) {
  if (result > 0) return result;
  const int error = api.get_error(connection->tls, result);
  if (error == SSL_ZERO_RETURN) return 0;
  errno = error == SSL_WANT_READ || error == SSL_WANT_WRITE ? EAGAIN : EPROTO;
  return -1;
}

ssize_t tls_send(struct connection *connection, const void *bytes, size_t length) {
  return result_of(connection, api.write(connection->tls, bytes, (int)length));
}

ssize_t tls_receive(struct connection *connection, void *bytes, size_t length) {
  return result_of(connection, api.read(connection->tls, bytes, (int)length));
}

void tls_close(struct connection *connection) {
  api.ssl_free(connection->tls);
  connection->tls = NULL;
}
