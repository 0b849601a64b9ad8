/*
 * CPU time and memory of the server process and CPU time of this one.
 *
 * The server's CPU time comes from its own POSIX CPU clock, which counts all of its threads, living
 * and ended, in nanoseconds; /proc/PID/stat counts in ticks of 10 ms.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock, const char *whose) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) {
    fail("can't read the CPU time of %s: %s", whose, strerror(errno));
  }
  return (uint64_t)time.tv_sec * NSEC_PER_SEC + (uint64_t)time.tv_nsec;
}

static uint64_t server_rss_bytes(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) fail("the server, process %d, is gone", (int)pid);
  unsigned long long size = 0;
  unsigned long long resident = 0;
  const int fields = fscanf(file, "%llu %llu", &size, &resident);
  fclose(file);
  if (fields != 2) fail("can't read %s", path);
  return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void usage_read(const struct options *options, struct usage *usage) {
  memset(usage, 0, sizeof *usage);
  usage->client_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID, "this process");
  if (options->server_pid != 0) {
    clockid_t clock;
    const int error = clock_getcpuclockid(options->server_pid, &clock);
    if (error != 0) fail("server process %d: %s", (int)options->server_pid, strerror(error));
    usage->server_rss_bytes = server_rss_bytes(options->server_pid);
    usage->server_cpu_ns = clock_ns(clock, "the server");
  }
  usage->at_ns = now_ns();
}
