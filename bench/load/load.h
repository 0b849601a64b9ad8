/*
 * The load generator's shared declarations: options, histogram, connections, server usage, report.
 *
 * One thread, one epoll, loopback only. Every byte that comes back is compared with what was sent.
 * Anything wrong ends the program with one line on stderr and exit code 1 (2 for wrong usage), and
 * nothing waits without a deadline.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define NSEC_PER_SEC 1000000000ull
#define EVENTS_MAX 512

enum mode {
  MODE_PINGPONG, MODE_RATE, MODE_STORM, MODE_IDLE, MODE_FIREHOSE, MODE_SLOW, MODE_CHAT,
  MODE_DATAGRAMS, MODE_REQUESTS, MODE_MQTT, MODE_FRAMES
};

enum protocol { PROTOCOL_NONE, PROTOCOL_REDIS_SET, PROTOCOL_REDIS_GET, PROTOCOL_HTTP };

struct options {
  enum mode mode;
  struct sockaddr_storage address; /* always a loopback address */
  socklen_t address_length;
  enum protocol protocol; /* requests: what is asked for, and how */
  pid_t server_pid;      /* with its children; 0: the server's CPU time and memory are not reported */
  uint64_t connections;  /* open at the same time; in storm mode, the connections in progress;
                            in datagrams mode, the peers */
  uint64_t active;       /* pingpong, rate: of those, the ones that send; 0: all */
  uint64_t size;         /* bytes per message */
  uint64_t depth;        /* pingpong, requests: in flight per connection; chat: lines; mqtt: publications */
  uint64_t rate;         /* rate: messages, frames: pieces per second, all connections together; storm: connections per second,
                            0: as fast as it goes */
  uint64_t topics;       /* mqtt: how many there are */
  uint64_t qos;          /* mqtt: 0 or 1 */
  uint64_t count;        /* storm: connections in all */
  uint64_t bytes;        /* firehose, slow: bytes sent in all */
  uint64_t read_rate;    /* slow: bytes per second that each connection reads */
  uint64_t duration_ns;  /* of the timed window */
  uint64_t warmup_ns;    /* before the timed window */
  uint64_t stall_ns;     /* give up when nothing has moved for so long */
  bool one_way;          /* firehose: the server sends nothing back */
  bool tls;              /* pingpong, rate, firehose: the connections are encrypted */
};

const char *mode_name(enum mode mode);
/* Fills in options from the command line; ends the program on wrong usage. */
void options_parse(int argc, char **argv, struct options *options);

/* ---- histogram: log-linear, 128 steps per octave, so values are kept to better than 1 % ---- */
#define HISTOGRAM_STEP_BITS 7
#define HISTOGRAM_OCTAVES 34
#define HISTOGRAM_BUCKETS ((HISTOGRAM_OCTAVES + 1) << HISTOGRAM_STEP_BITS)

struct histogram {
  uint64_t counts[HISTOGRAM_BUCKETS];
  uint64_t total;
  uint64_t sum;
  uint64_t max;
};

void histogram_reset(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
/* The smallest recorded value, to the histogram's precision, that `fraction` don't exceed. */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);
/* The lowest value that goes into a bucket. */
uint64_t histogram_low(uint64_t bucket);

/* ---- connections: a stream of pattern bytes out, the same stream expected back ---- */
struct connection {
  int fd;
  uint32_t index;
  uint32_t watching;  /* the epoll events asked for */
  uint64_t origin;    /* where in the pattern this connection's stream starts */
  uint64_t queued;    /* bytes that are to be sent, ever */
  uint64_t sent;      /* of those, taken by the kernel */
  uint64_t received;  /* bytes that came back and were right */
  uint64_t issued;    /* messages queued */
  uint64_t completed; /* messages whose last byte has come back */
  uint64_t *started;  /* ring of the messages' start times, `ring` entries */
  uint64_t ring;
  void *tls;          /* NULL: it is plain */
};

void pattern_init(void);
/* At least 256 KiB of the pattern from a position on. */
const unsigned char *pattern_at(uint64_t position);
/* Connects, with TCP_NODELAY and a deadline; ends the program where that fails. */
void connection_open(struct connection *connection, uint32_t index, const struct options *options);
/* Starts a non-blocking connect; writability, level-triggered, says when it is over. */
void connection_start(struct connection *c, uint32_t index, int epoll_fd,
                      const struct options *options);
/* Ends the program if the connect that was started has failed. */
void connection_check_connected(const struct connection *connection);
void connection_watch(struct connection *connection, int epoll_fd, uint32_t events);
/* Sends what is queued as far as the kernel takes it; watches for writability when it doesn't. */
void connection_flush(struct connection *connection, int epoll_fd, uint32_t events);
/* Receives at most `limit` bytes once and verifies them. Bytes received; 0 when there were none. */
uint64_t connection_receive(struct connection *connection, uint64_t limit);
/* Sends one message and waits for its echo: the server has then accepted it and all before it. */
void connection_settle(struct connection *connection, const struct options *options);
void connection_close(struct connection *connection);

/* ---- TLS: what is sent and received on a connection, as send and recv say it ---- */
void tls_open(struct connection *connection);
ssize_t tls_send(struct connection *connection, const void *bytes, size_t length);
ssize_t tls_receive(struct connection *connection, void *bytes, size_t length);
void tls_close(struct connection *connection);
struct connection *connections_open(const struct options *options, int epoll_fd, uint64_t ring);
void connections_close(struct connection *connections, uint64_t count);

/* ---- what the server's processes and this process have used ---- */
struct usage {
  uint64_t at_ns;
  uint64_t server_cpu_ns;
  uint64_t server_rss_bytes;
  uint64_t client_cpu_ns;
};

void usage_read(const struct options *options, struct usage *usage);

/* ---- results ---- */
struct result {
  struct usage before; /* first thing of all */
  struct usage begin;  /* timed window */
  struct usage end;
  uint64_t messages;   /* completed in the timed window */
  uint64_t bytes;      /* payload bytes of the timed window, one direction */
  uint64_t verified;   /* bytes compared with what was sent, whole run */
  uint64_t sent;       /* bytes the kernel took, whole run */
  uint64_t unfinished; /* messages still without an answer when draining was given up */
  uint64_t lost;       /* datagrams without an answer in time, whole run */
  uint64_t peak_rss_bytes;
  struct histogram latency; /* nanoseconds */
};

void report_print(const struct options *options, const struct result *result);

/* ---- modes ---- */
void run_exchange(const struct options *options, struct result *result); /* pingpong, rate */
void run_storm(const struct options *options, struct result *result);
void run_idle(const struct options *options, struct result *result);
void run_firehose(const struct options *options, struct result *result);
void run_slow(const struct options *options, struct result *result);
void run_chat(const struct options *options, struct result *result);
void run_datagrams(const struct options *options, struct result *result);
void run_requests(const struct options *options, struct result *result);
void run_mqtt(const struct options *options, struct result *result);
void run_frames(const struct options *options, struct result *result);

uint64_t now_ns(void);
int epoll_open(void);
/* One line on stderr, exit code 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
