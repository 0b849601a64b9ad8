/*
 * The load generator's entry: parses the options, arms a last-resort deadline, runs one mode and
 * prints one JSON object.
 */
#include "load.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Beyond warm-up, window and stall detection; a run that takes so much longer is broken. */
#define LAST_RESORT_SECONDS 60

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * NSEC_PER_SEC + (uint64_t)time.tv_nsec;
}

int epoll_open(void) {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) fail("epoll_create1: %s", strerror(errno));
  return fd;
}

static void on_alarm(int signal_number) {
  (void)signal_number;
  static const char text[] = "load: gave up: the run took far longer than asked for\n";
  const ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
  (void)written;
  _exit(1);
}

/* Connections cost a descriptor each: take all that the hard limit allows. */
static void raise_descriptor_limit(const struct options *options) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit: %s", strerror(errno));
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit: %s", strerror(errno));
  const uint64_t needed = options->connections + 16;
  if (needed > limit.rlim_cur) {
    fail("%llu connections need %llu descriptors, and the limit is %llu",
         (unsigned long long)options->connections, (unsigned long long)needed,
         (unsigned long long)limit.rlim_cur);
  }
}

int main(int argc, char **argv) {
  static struct result result; /* the histogram is too big for a stack */
  struct options options;
  options_parse(argc, argv, &options);

  signal(SIGPIPE, SIG_IGN);
  signal(SIGALRM, on_alarm);
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* the runner's end is ours */
  const uint64_t planned = options.warmup_ns + options.duration_ns + options.stall_ns;
  alarm((unsigned)(planned / NSEC_PER_SEC) + LAST_RESORT_SECONDS);
  raise_descriptor_limit(&options);
  pattern_init();
  histogram_reset(&result.latency);
  usage_read(&options, &result.before);

  switch (options.mode) {
    case MODE_PINGPONG:
    case MODE_RATE: run_exchange(&options, &result); break;
    case MODE_STORM: run_storm(&options, &result); break;
    case MODE_IDLE: run_idle(&options, &result); break;
    case MODE_FIREHOSE: run_firehose(&options, &result); break;
    case MODE_SLOW: run_slow(&options, &result); break;
    case MODE_CHAT: run_chat(&options, &result); break;
    case MODE_DATAGRAMS: run_datagrams(&options, &result); break;
    case MODE_REQUESTS: run_requests(&options, &result); break;
    case MODE_MQTT: run_mqtt(&options, &result); break;
    case MODE_FRAMES: run_frames(&options, &result); break;
  }
  report_print(&options, &result);
  return 0;
}
