/*
 * The load generator's command line: every option checked, with one clear line for what is wrong.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const MODE_NAMES[] = {"pingpong", "rate", "storm", "idle",
                                         "firehose", "slow", "chat", "datagrams",
                                         "requests", "mqtt", "frames"};
#define MODES (sizeof MODE_NAMES / sizeof *MODE_NAMES)
static const char *const PROTOCOL_NAMES[] = {"none", "redis-set", "redis-get", "http"};
#define PROTOCOLS (sizeof PROTOCOL_NAMES / sizeof *PROTOCOL_NAMES)

static const char HELP[] =
    "usage: load --mode MODE --port PORT [options]\n"
    "  --mode pingpong    each connection keeps DEPTH messages in flight (closed loop)\n"
    "         rate        RATE messages/s in all, latency counted from when each was due\n"
    "         storm       COUNT times connect, one round trip, close; CONNECTIONS at a time\n"
    "         idle        open CONNECTIONS, one round trip each, hold them\n"
    "         firehose    send BYTES as fast as they are taken, over CONNECTIONS\n"
    "         slow        the same, but each connection reads only READ-RATE bytes/s\n"
    "         chat        CONNECTIONS members of a chat, the first one speaks in lines of SIZE\n"
    "         datagrams   CONNECTIONS UDP peers keep one datagram of SIZE in flight each\n"
    "         requests    each connection keeps DEPTH requests of PROTOCOL in flight\n"
    "         mqtt        CONNECTIONS subscribers of TOPICS, one publisher of SIZE bytes, with QOS\n"
    "         frames      frames of SIZE over CONNECTIONS, in odd pieces, RATE of them per second\n"
    "  --protocol NAME    requests: redis-set, redis-get or http\n"
    "  --host ADDRESS     a loopback address (default 127.0.0.1)\n"
    "  --port PORT        the server's port\n"
    "  --server-pid PID   report this process's CPU time and memory, with its children's\n"
    "  --connections N    (default 1)\n"
    "  --active N         pingpong, rate: only so many of the connections send (default all)\n"
    "  --size BYTES       of a message (default 64)\n"
    "  --depth N          in flight (default 1): pingpong, requests: per connection; chat: lines;\n"
    "                     mqtt: publications\n"
    "  --rate N           rate: messages per second; storm: connections per second (default: no limit)\n"
    "  --topics N         mqtt: with more than one, filters have wildcards (default 1)\n"
    "  --qos N            mqtt: 0 or 1 (default 0)\n"
    "  --count N          storm: connections in all\n"
    "  --bytes N          firehose, slow: bytes in all\n"
    "  --read-rate N      slow: bytes per second and connection (default 65536)\n"
    "  --one-way          firehose: expect nothing back but end-of-file\n"
    "  --tls              pingpong, rate, firehose: over TLS, with the machine's OpenSSL\n"
    "  --duration S       seconds of the timed window (default 2)\n"
    "  --warmup S         seconds before it (default 0.5)\n"
    "  --stall S          give up after so many seconds without progress (default 5)\n";

enum {
  OPTION_MODE = 256, OPTION_HOST, OPTION_PORT, OPTION_SERVER_PID, OPTION_CONNECTIONS, OPTION_ACTIVE, OPTION_SIZE,
  OPTION_DEPTH, OPTION_RATE, OPTION_COUNT, OPTION_BYTES, OPTION_READ_RATE, OPTION_ONE_WAY,
  OPTION_DURATION, OPTION_WARMUP, OPTION_STALL, OPTION_HELP, OPTION_PROTOCOL, OPTION_TOPICS,
  OPTION_QOS, OPTION_TLS
};

static const struct option LONG_OPTIONS[] = {
    {"mode", required_argument, NULL, OPTION_MODE},
    {"host", required_argument, NULL, OPTION_HOST},
    {"port", required_argument, NULL, OPTION_PORT},
    {"server-pid", required_argument, NULL, OPTION_SERVER_PID},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"active", required_argument, NULL, OPTION_ACTIVE},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"depth", required_argument, NULL, OPTION_DEPTH},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"bytes", required_argument, NULL, OPTION_BYTES},
    {"read-rate", required_argument, NULL, OPTION_READ_RATE},
    {"one-way", no_argument, NULL, OPTION_ONE_WAY},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"stall", required_argument, NULL, OPTION_STALL},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"topics", required_argument, NULL, OPTION_TOPICS},
    {"qos", required_argument, NULL, OPTION_QOS},
    {"tls", no_argument, NULL, OPTION_TLS},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0}};

/* What the address is made of, until all options are known. */
struct endpoint {
  const char *host;
  uint16_t port;
};

const char *mode_name(enum mode mode) {
  return MODE_NAMES[mode];
}

static _Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void usage_error(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputs(" (see --help)\n", stderr);
  va_end(arguments);
  exit(2);
}

static uint64_t parse_count(const char *name, const char *text, uint64_t low, uint64_t high) {
  char *end = NULL;
  errno = 0;
  const unsigned long long value = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < low || value > high) {
    usage_error("--%s must be a whole number from %llu to %llu; got '%s'", name,
                (unsigned long long)low, (unsigned long long)high, text);
  }
  return value;
}

static uint64_t parse_seconds(const char *name, const char *text, double low, double high) {
  char *end = NULL;
  const double value = strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= low && value <= high)) {
    usage_error("--%s must be a number of seconds from %g to %g; got '%s'", name, low, high, text);
  }
  return (uint64_t)(value * (double)NSEC_PER_SEC);
}

static enum mode parse_mode(const char *text) {
  for (size_t i = 0; i < MODES; i += 1) {
    if (strcmp(text, MODE_NAMES[i]) == 0) return (enum mode)i;
  }
  usage_error("--mode must be pingpong, rate, storm, idle, firehose, slow, chat, datagrams, "
              "requests, mqtt or frames; got '%s'", text);
}

static enum protocol parse_protocol(const char *text) {
  for (size_t i = 1; i < PROTOCOLS; i += 1) {
    if (strcmp(text, PROTOCOL_NAMES[i]) == 0) return (enum protocol)i;
  }
  usage_error("--protocol must be redis-set, redis-get or http; got '%s'", text);
}

static void resolve(const struct endpoint *endpoint, struct options *options) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)&options->address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&options->address;
  if (inet_pton(AF_INET, endpoint->host, &v4->sin_addr) == 1) {
    if ((ntohl(v4->sin_addr.s_addr) >> 24) != 127) {
      usage_error("--host must be a loopback address; got '%s'", endpoint->host);
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint->port);
    options->address_length = sizeof *v4;
  } else if (inet_pton(AF_INET6, endpoint->host, &v6->sin6_addr) == 1) {
    if (!IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)) {
      usage_error("--host must be a loopback address; got '%s'", endpoint->host);
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(endpoint->port);
    options->address_length = sizeof *v6;
  } else {
    usage_error("--host must be a numeric loopback address; got '%s'", endpoint->host);
  }
}

/* What one mode needs or excludes. */
static void check_together(const struct options *options, bool mode_given, uint16_t port) {
  if (!mode_given) usage_error("--mode is missing");
  if (port == 0) usage_error("--port is missing");
  const bool paced = options->mode == MODE_RATE || options->mode == MODE_FRAMES;
  if (paced && options->rate == 0) usage_error("mode %s needs --rate", mode_name(options->mode));
  if (options->mode == MODE_FRAMES && (options->size < 16 || options->size > 1024)) {
    usage_error("mode frames needs frames of 16 to 1024 bytes; --size is %llu", (unsigned long long)options->size);
  }
  if (options->mode == MODE_STORM && options->count == 0) usage_error("mode storm needs --count");
  const bool bulk = options->mode == MODE_FIREHOSE || options->mode == MODE_SLOW;
  if (bulk && options->bytes < options->connections) {
    usage_error("mode %s needs --bytes, at least one per connection", mode_name(options->mode));
  }
  if (options->active > options->connections) {
    usage_error("--active must be at most the %llu connections; got '%llu'",
                (unsigned long long)options->connections, (unsigned long long)options->active);
  }
  if (options->active > 0 && options->mode != MODE_PINGPONG && options->mode != MODE_RATE) {
    usage_error("--active goes with modes pingpong and rate only");
  }
  if (options->mode == MODE_CHAT && (options->size < 16 || options->size > 1024)) {
    usage_error("mode chat needs lines of 16 to 1024 bytes; --size is %llu",
                (unsigned long long)options->size);
  }
  if (options->mode == MODE_DATAGRAMS && (options->size < 8 || options->size > 65507)) {
    usage_error("mode datagrams needs 8 to 65507 bytes; --size is %llu", (unsigned long long)options->size);
  }
  if ((options->mode == MODE_REQUESTS) != (options->protocol != PROTOCOL_NONE)) {
    usage_error("mode requests needs --protocol, which goes with no other");
  }
  if (options->mode == MODE_REQUESTS && options->depth > 256) {
    usage_error("mode requests has 256 requests in flight at most; --depth is %llu", (unsigned long long)options->depth);
  }
  if (options->mode == MODE_MQTT && (options->size < 16 || options->size > 1024 || options->depth > 256)) {
    usage_error("mode mqtt needs 16 to 1024 bytes, and 256 publications in flight at most; got --size %llu, "
                "--depth %llu", (unsigned long long)options->size, (unsigned long long)options->depth);
  }
  if (options->tls && options->mode != MODE_PINGPONG && options->mode != MODE_RATE &&
      options->mode != MODE_FIREHOSE) {
    usage_error("--tls goes with modes pingpong, rate and firehose only");
  }
  if (options->one_way && options->mode != MODE_FIREHOSE) {
    usage_error("--one-way goes with mode firehose only");
  }
}

/* One option; what is out of range ends the program. */
static void take(int option, const char *text, struct options *options, struct endpoint *endpoint) {
  switch (option) {
    case OPTION_MODE: options->mode = parse_mode(text); break;
    case OPTION_HOST: endpoint->host = strcmp(text, "localhost") == 0 ? "127.0.0.1" : text; break;
    case OPTION_PORT: endpoint->port = (uint16_t)parse_count("port", text, 1, 65535); break;
    case OPTION_SERVER_PID:
      options->server_pid = (pid_t)parse_count("server-pid", text, 1, INT32_MAX);
      break;
    case OPTION_CONNECTIONS:
      options->connections = parse_count("connections", text, 1, 1000000);
      break;
    case OPTION_ACTIVE: options->active = parse_count("active", text, 1, 1000000); break;
    case OPTION_SIZE: options->size = parse_count("size", text, 1, 64u << 20); break;
    case OPTION_DEPTH: options->depth = parse_count("depth", text, 1, 65536); break;
    case OPTION_RATE: options->rate = parse_count("rate", text, 1, 100000000); break;
    case OPTION_COUNT: options->count = parse_count("count", text, 1, 100000000); break;
    case OPTION_BYTES: options->bytes = parse_count("bytes", text, 1, 1ull << 45); break;
    case OPTION_READ_RATE: options->read_rate = parse_count("read-rate", text, 1, 1u << 30); break;
    case OPTION_ONE_WAY: options->one_way = true; break;
    case OPTION_TLS: options->tls = true; break;
    case OPTION_PROTOCOL: options->protocol = parse_protocol(text); break;
    case OPTION_TOPICS: options->topics = parse_count("topics", text, 1, 10000); break;
    case OPTION_QOS: options->qos = parse_count("qos", text, 0, 1); break;
    case OPTION_DURATION:
      options->duration_ns = parse_seconds("duration", text, 0.001, 3600);
      break;
    case OPTION_WARMUP: options->warmup_ns = parse_seconds("warmup", text, 0, 3600); break;
    case OPTION_STALL: options->stall_ns = parse_seconds("stall", text, 0.1, 3600); break;
    default: usage_error("unknown or incomplete option");
  }
}

void options_parse(int argc, char **argv, struct options *options) {
  memset(options, 0, sizeof *options);
  options->connections = 1;
  options->size = 64;
  options->depth = 1;
  options->topics = 1;
  options->read_rate = 65536;
  options->duration_ns = 2 * NSEC_PER_SEC;
  options->warmup_ns = NSEC_PER_SEC / 2;
  options->stall_ns = 5 * NSEC_PER_SEC;
  struct endpoint endpoint = {"127.0.0.1", 0};
  bool mode_given = false;
  opterr = 0;
  for (;;) {
    const int option = getopt_long(argc, argv, "", LONG_OPTIONS, NULL);
    if (option == -1) break;
    if (option == OPTION_HELP) {
      fputs(HELP, stdout);
      exit(0);
    }
    if (option == '?') usage_error("unknown or incomplete option '%s'", argv[optind - 1]);
    mode_given |= option == OPTION_MODE;
    take(option, optarg, options, &endpoint);
  }
  if (optind < argc) usage_error("unexpected argument '%s'", argv[optind]);
  check_together(options, mode_given, endpoint.port);
  resolve(&endpoint, options);
}
