/* The options of the C servers: where to listen. Owns nothing. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exits with 2, and how it is used, when one is unknown or has no value. */
static void read_options(int argc, char **argv, const char *name, const char **host, int *port) {
  for (int i = 1; i < argc; i += 2) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (value != NULL && strcmp(argv[i], "--host") == 0) {
      *host = value;
    } else if (value != NULL && strcmp(argv[i], "--port") == 0) {
      *port = atoi(value);
    } else {
      fprintf(stderr, "usage: %s [--host ADDRESS] [--port PORT]\n", name);
      exit(2);
    }
  }
}
