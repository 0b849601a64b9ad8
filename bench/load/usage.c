/*
 * CPU time and memory of the server's processes, it and those that it has started, and CPU time of this one.
 *
 * The server's CPU time comes from its own POSIX CPU clock, which counts all of its threads, living
 * and ended, in nanoseconds; /proc/PID/stat counts in ticks of 10 ms.
 */
#include "load.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

#define PROCESSES_MAX 64u

/* The server and its descendants, as they are when they are asked for first: a server has its workers by then. */
struct processes {
  pid_t pids[PROCESSES_MAX];
  unsigned count;
};

/* Who started a process; 0: it is gone. */
static pid_t parent_of(const char *pid) {
  char path[300];
  char text[512];
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  const size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  /* Its name, in parentheses, may have anything in it. */
  const char *const name_end = strrchr(text, ')');
  int parent = 0;
  if (name_end == NULL || sscanf(name_end + 1, " %*c %d", &parent) != 1) return 0;
  return (pid_t)parent;
}

static bool is_one_of(const struct processes *all, pid_t pid) {
  for (unsigned i = 0; i < all->count; i += 1) {
    if (all->pids[i] == pid) return true;
  }
  return false;
}

static void find_processes(pid_t server, struct processes *all) {
  unsigned before = 0;
  all->pids[0] = server;
  all->count = 1;
  /* A child may stand before its parent: until nobody is added. */
  while (before != all->count) {
    before = all->count;
    DIR *const proc = opendir("/proc");
    if (proc == NULL) fail("/proc: %s", strerror(errno));
    for (const struct dirent *entry = readdir(proc); entry != NULL; entry = readdir(proc)) {
      if (!isdigit((unsigned char)entry->d_name[0])) continue;
      const pid_t pid = (pid_t)atoi(entry->d_name);
      if (is_one_of(all, pid) || !is_one_of(all, parent_of(entry->d_name))) continue;
      if (all->count == PROCESSES_MAX) fail("the server has more than %u processes", PROCESSES_MAX);
      all->pids[all->count] = pid;
      all->count += 1;
    }
    closedir(proc);
  }
}

static void add_server(pid_t pid, struct usage *usage) {
  clockid_t clock;
  const int error = clock_getcpuclockid(pid, &clock);
  if (error != 0) fail("server process %d: %s", (int)pid, strerror(error));
  usage->server_rss_bytes += server_rss_bytes(pid);
  usage->server_cpu_ns += clock_ns(clock, "the server");
}

void usage_read(const struct options *options, struct usage *usage) {
  memset(usage, 0, sizeof *usage);
  usage->client_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID, "this process");
  if (options->server_pid != 0) {
    static struct processes server;
    if (server.count == 0) find_processes(options->server_pid, &server);
    for (unsigned i = 0; i < server.count; i += 1) add_server(server.pids[i], usage);
  }
  usage->at_ns = now_ns();
}
