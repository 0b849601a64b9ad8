/*
 * What io_uring can give: an echo server with multishot accept, multishot receive into a ring of
 * provided buffers, direct descriptors, and one system call per turn that submits all sends and
 * waits. Raw system calls, no library. Needs Linux 6.1.
 *
 * A received buffer is sent back as it is and returns to the ring when the kernel has taken all of
 * it; a connection has one send on its way at a time, so the order holds. A connection that lets
 * PENDING_MAX buffers pile up is not received from until they have gone.
 *
 * usage: c-uring-echo [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "options.h"

#define SQ_ENTRIES 4096u
#define CQ_ENTRIES 32768u
#define BUFFERS 4096u /* a power of two */
#define BUFFER_BYTES 16384u
/* A line more than the buffer: buffers at multiples of 16 KiB would share a few cache sets. */
#define BUFFER_STRIDE (BUFFER_BYTES + 64u)
#define GROUP 1
#define FILES_MAX 65536u
#define PENDING_MAX 32u
#define BACKLOG 4096
#define NONE UINT32_MAX

enum operation { OP_ACCEPT, OP_RECEIVE, OP_SEND, OP_CANCEL, OP_SHUTDOWN, OP_CLOSE, OP_BITS = 3 };

struct client {
  uint32_t first, last; /* buffers to be sent, linked by `next`; the first one is on its way */
  uint32_t pending;
  uint32_t starved_next;
  bool receiving, sending, ended, paused, starved;
};

/* What lies in a buffer. */
struct chunk {
  uint32_t next, offset, length;
};

struct ring {
  int fd;
  unsigned *sq_head, *sq_tail, *sq_mask, *cq_head, *cq_tail, *cq_mask;
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
  unsigned tail, submitted;
};

static struct ring ring;
static struct io_uring_buf_ring *buffer_ring;
static uint16_t buffer_tail;
static char *buffers;
static struct chunk chunks[BUFFERS];
static struct client *clients;
static uint32_t starved_first = NONE;
static int listener;

static _Noreturn void die(const char *what, int error) {
  fprintf(stderr, "c-uring-echo: %s: %s\n", what, strerror(error));
  exit(1);
}

static void *map(size_t length, off_t offset) {
  const int flags = offset < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
  void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, offset < 0 ? -1 : ring.fd,
                  offset < 0 ? 0 : offset);
  if (at == MAP_FAILED) die("mmap", errno);
  return at;
}

static void enroll(unsigned operation, const void *argument, unsigned count, const char *what) {
  if (syscall(SYS_io_uring_register, ring.fd, operation, argument, count) < 0) die(what, errno);
}

static void ring_open(void) {
  struct io_uring_params p = {.cq_entries = CQ_ENTRIES};
  p.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
            IORING_SETUP_SUBMIT_ALL;
  ring.fd = (int)syscall(SYS_io_uring_setup, SQ_ENTRIES, &p);
  if (ring.fd < 0) die("io_uring_setup", errno);
  const size_t sq_bytes = p.sq_off.array + p.sq_entries * sizeof(unsigned);
  const size_t cq_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  char *const sq = map(sq_bytes > cq_bytes ? sq_bytes : cq_bytes, IORING_OFF_SQ_RING);
  ring.sqes = map(p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
  ring.sq_head = (unsigned *)(sq + p.sq_off.head);
  ring.sq_tail = (unsigned *)(sq + p.sq_off.tail);
  ring.sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
  ring.cq_head = (unsigned *)(sq + p.cq_off.head);
  ring.cq_tail = (unsigned *)(sq + p.cq_off.tail);
  ring.cq_mask = (unsigned *)(sq + p.cq_off.ring_mask);
  ring.cqes = (struct io_uring_cqe *)(sq + p.cq_off.cqes);
  unsigned *const array = (unsigned *)(sq + p.sq_off.array);
  for (unsigned i = 0; i < p.sq_entries; i += 1) array[i] = i;
}

/* Submits what there is, and waits for `wait` completions. */
static void enter(unsigned wait) {
  __atomic_store_n(ring.sq_tail, ring.tail, __ATOMIC_RELEASE);
  const unsigned count = ring.tail - ring.submitted;
  const long done =
      syscall(SYS_io_uring_enter, ring.fd, count, wait, IORING_ENTER_GETEVENTS, NULL, 0);
  if (done >= 0) ring.submitted += (unsigned)done;
  else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) die("io_uring_enter", errno);
}

static struct io_uring_sqe *request(uint8_t opcode, uint32_t slot, enum operation operation) {
  while (ring.tail - __atomic_load_n(ring.sq_head, __ATOMIC_ACQUIRE) > *ring.sq_mask) enter(0);
  struct io_uring_sqe *sqe = &ring.sqes[ring.tail & *ring.sq_mask];
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = (int)slot;
  sqe->flags = IOSQE_FIXED_FILE;
  sqe->user_data = (uint64_t)slot << OP_BITS | operation;
  ring.tail += 1;
  return sqe;
}

static void accept_many(void) {
  struct io_uring_sqe *sqe = request(IORING_OP_ACCEPT, 0, OP_ACCEPT);
  sqe->fd = listener;
  sqe->flags = 0;
  sqe->ioprio = IORING_ACCEPT_MULTISHOT;
  sqe->file_index = IORING_FILE_INDEX_ALLOC;
}

static void receive_many(uint32_t slot) {
  struct io_uring_sqe *sqe = request(IORING_OP_RECV, slot, OP_RECEIVE);
  sqe->ioprio = IORING_RECV_MULTISHOT;
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = GROUP;
  clients[slot].receiving = true;
}

static void send_first(uint32_t slot) {
  struct client *client = &clients[slot];
  const struct chunk *chunk = &chunks[client->first];
  struct io_uring_sqe *sqe = request(IORING_OP_SEND, slot, OP_SEND);
  const char *bytes = buffers + (size_t)client->first * BUFFER_STRIDE + chunk->offset;
  sqe->addr = (uint64_t)(uintptr_t)bytes;
  sqe->len = chunk->length;
  sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  client->sending = true;
}

/* Nothing is asked of the connection any more: its slot may be used again. */
static void close_if_over(uint32_t slot) {
  const struct client *client = &clients[slot];
  if (!client->ended || client->receiving || client->sending || client->starved) return;
  struct io_uring_sqe *sqe = request(IORING_OP_CLOSE, slot, OP_CLOSE);
  sqe->fd = 0;
  sqe->flags = 0;
  sqe->file_index = slot + 1;
}

/* What is written here, the kernel sees when `publish_buffers` is next called. */
static void give_back(uint32_t buffer) {
  struct io_uring_buf *entry = &buffer_ring->bufs[buffer_tail & (BUFFERS - 1)];
  entry->addr = (uint64_t)(uintptr_t)(buffers + (size_t)buffer * BUFFER_STRIDE);
  entry->len = BUFFER_BYTES;
  entry->bid = (uint16_t)buffer;
  buffer_tail += 1;
}

static void publish_buffers(void) {
  if (buffer_ring->tail == buffer_tail) return;
  __atomic_store_n(&buffer_ring->tail, buffer_tail, __ATOMIC_RELEASE);
  while (starved_first != NONE) {
    struct client *client = &clients[starved_first];
    const uint32_t slot = starved_first;
    starved_first = client->starved_next;
    client->starved = false;
    if (!client->ended && !client->paused && !client->receiving) receive_many(slot);
    close_if_over(slot);
  }
}

static void drop_first(struct client *client) {
  const uint32_t buffer = client->first;
  client->first = chunks[buffer].next;
  if (client->first == NONE) client->last = NONE;
  client->pending -= 1;
  give_back(buffer);
}

static void on_accept(int result, unsigned flags) {
  if (result >= 0) {
    const uint32_t slot = (uint32_t)result;
    clients[slot] = (struct client){.first = NONE, .last = NONE, .starved_next = NONE};
    receive_many(slot);
  } else if (result != -ECONNABORTED && result != -EINTR && result != -EAGAIN) {
    die("accept", -result);
  }
  if ((flags & IORING_CQE_F_MORE) == 0) accept_many();
}

static void keep(uint32_t slot, uint32_t buffer, uint32_t length) {
  struct client *client = &clients[slot];
  chunks[buffer] = (struct chunk){.next = NONE, .offset = 0, .length = length};
  if (client->last == NONE) client->first = buffer;
  else chunks[client->last].next = buffer;
  client->last = buffer;
  client->pending += 1;
  if (!client->sending) send_first(slot);
  if (client->pending >= PENDING_MAX && !client->paused && client->receiving) {
    client->paused = true;
    struct io_uring_sqe *sqe = request(IORING_OP_ASYNC_CANCEL, slot, OP_CANCEL);
    sqe->fd = -1;
    sqe->flags = 0;
    sqe->addr = (uint64_t)slot << OP_BITS | OP_RECEIVE;
  }
}

static void on_receive(uint32_t slot, int result, unsigned flags) {
  struct client *client = &clients[slot];
  if ((flags & IORING_CQE_F_MORE) == 0) client->receiving = false;
  if (result > 0) {
    keep(slot, flags >> IORING_CQE_BUFFER_SHIFT, (uint32_t)result);
  } else if (result == -ENOBUFS) {
    client->starved = true;
    client->starved_next = starved_first;
    starved_first = slot;
  } else if (result != -ECANCELED && result != -EINTR) {
    client->ended = true;
  }
  if (!client->receiving && !client->ended && !client->paused && !client->starved) {
    receive_many(slot);
  }
  close_if_over(slot);
}

static void on_send(uint32_t slot, int result) {
  struct client *client = &clients[slot];
  client->sending = false;
  if (result < 0 && result != -EINTR && result != -EAGAIN) {
    while (client->first != NONE) drop_first(client);
    if (!client->ended && client->receiving) {
      request(IORING_OP_SHUTDOWN, slot, OP_SHUTDOWN)->len = SHUT_RDWR;
    }
    client->ended = true;
  } else {
    struct chunk *chunk = &chunks[client->first];
    const uint32_t taken = result < 0 ? 0 : (uint32_t)result;
    chunk->offset += taken;
    chunk->length -= taken;
    if (chunk->length == 0) drop_first(client);
    if (client->first != NONE) send_first(slot);
  }
  if (client->paused && client->pending == 0 && !client->receiving) {
    client->paused = false;
    if (!client->ended) receive_many(slot);
  }
  close_if_over(slot);
}

static void on_completion(const struct io_uring_cqe *cqe) {
  const uint32_t slot = (uint32_t)(cqe->user_data >> OP_BITS);
  switch ((enum operation)(cqe->user_data & ((1u << OP_BITS) - 1))) {
    case OP_ACCEPT: on_accept(cqe->res, cqe->flags); break;
    case OP_RECEIVE: on_receive(slot, cqe->res, cqe->flags); break;
    case OP_SEND: on_send(slot, cqe->res); break;
    case OP_CLOSE:
      if (cqe->res < 0) die("close", -cqe->res);
      break;
    default: break; /* a cancellation or a shutdown: what it ends reports for itself */
  }
}

static void buffers_open(void) {
  buffers = map((size_t)BUFFERS * BUFFER_STRIDE, -1);
  buffer_ring = map(BUFFERS * sizeof(struct io_uring_buf), -1);
  const struct io_uring_buf_reg group = {
      .ring_addr = (uint64_t)(uintptr_t)buffer_ring, .ring_entries = BUFFERS, .bgid = GROUP};
  enroll(IORING_REGISTER_PBUF_RING, &group, 1, "provided buffers");
  for (uint32_t i = 0; i < BUFFERS; i += 1) give_back(i);
  publish_buffers();
}

static void files_open(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) die("getrlimit", errno);
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("setrlimit", errno);
  const uint32_t count = limit.rlim_cur < FILES_MAX ? (uint32_t)limit.rlim_cur : FILES_MAX;
  const struct io_uring_rsrc_register files = {.nr = count, .flags = IORING_RSRC_REGISTER_SPARSE};
  enroll(IORING_REGISTER_FILES2, &files, sizeof files, "direct descriptors");
  clients = map(count * sizeof *clients, -1);
}

/* Accepted sockets inherit TCP_NODELAY from the listener. */
static void listen_on(const char *host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
    fprintf(stderr, "c-uring-echo: --host must be an IPv4 address; got '%s'\n", host);
    exit(2);
  }
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0) die("socket", errno);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) die("nodelay", errno);
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) != 0) die("bind", errno);
  if (listen(listener, BACKLOG) != 0) die("listen", errno);
  if (getsockname(listener, (struct sockaddr *)&address, &length) != 0) die("getsockname", errno);
  printf("listening on %s:%d\n", host, (int)ntohs(address.sin_port));
  fflush(stdout);
}

static _Noreturn void serve(void) {
  accept_many();
  for (;;) {
    publish_buffers();
    enter(1);
    unsigned head = *ring.cq_head;
    while (head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE)) {
      on_completion(&ring.cqes[head & *ring.cq_mask]);
      head += 1;
      __atomic_store_n(ring.cq_head, head, __ATOMIC_RELEASE);
    }
  }
}

int main(int argc, char **argv) {
  const char *host = "127.0.0.1";
  int port = 0;
  read_options(argc, argv, "c-uring-echo", &host, &port);
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* the runner's end is ours */
  ring_open();
  files_open();
  buffers_open();
  listen_on(host, port);
  serve();
}
