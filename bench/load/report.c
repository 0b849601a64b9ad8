/*
 * Prints one run's result as one JSON object on stdout.
 */
#include "load.h"

#include <stdio.h>

static double us(uint64_t ns) {
  return (double)ns / 1000.0;
}

static void print_latency(const struct histogram *latency) {
  const double mean = latency->total == 0 ? 0.0 : us(latency->sum) / (double)latency->total;
  printf(",\"latency_us\":{\"count\":%llu,\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,"
         "\"p99_9\":%.3f,\"max\":%.3f}",
         (unsigned long long)latency->total, mean, us(histogram_quantile(latency, 0.5)),
         us(histogram_quantile(latency, 0.9)), us(histogram_quantile(latency, 0.99)),
         us(histogram_quantile(latency, 0.999)), us(latency->max));
}

/* [lowest microseconds, count], 16 to the octave: enough for a chart, and short. */
static void print_histogram(const struct histogram *latency) {
  const uint64_t together = 1u << (HISTOGRAM_STEP_BITS - 4);
  const char *comma = "";
  printf(",\"histogram\":[");
  for (uint64_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket += together) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < together; i += 1) count += latency->counts[bucket + i];
    if (count == 0) continue;
    printf("%s[%.3f,%llu]", comma, us(histogram_low(bucket)), (unsigned long long)count);
    comma = ",";
  }
  printf("]");
}

static void print_server(const struct options *options, const struct result *result) {
  if (options->server_pid == 0) return;
  const uint64_t cpu_ns = result->end.server_cpu_ns - result->begin.server_cpu_ns;
  const double elapsed = (double)(result->end.at_ns - result->begin.at_ns);
  const double messages = result->messages == 0 ? 1.0 : (double)result->messages;
  printf(",\"server\":{\"cpu_us\":%.3f,\"cpu_us_per_message\":%.5f,\"busy\":%.4f,"
         "\"rss_bytes_before\":%llu,\"rss_bytes\":%llu,\"rss_bytes_peak\":%llu}",
         us(cpu_ns), us(cpu_ns) / messages, elapsed > 0 ? (double)cpu_ns / elapsed : 0.0,
         (unsigned long long)result->before.server_rss_bytes,
         (unsigned long long)result->end.server_rss_bytes,
         (unsigned long long)(result->peak_rss_bytes > result->end.server_rss_bytes
                                  ? result->peak_rss_bytes
                                  : result->end.server_rss_bytes));
}

void report_print(const struct options *options, const struct result *result) {
  const uint64_t elapsed_ns = result->end.at_ns - result->begin.at_ns;
  const double seconds = elapsed_ns == 0 ? 1e-9 : (double)elapsed_ns / (double)NSEC_PER_SEC;
  const uint64_t client_ns = result->end.client_cpu_ns - result->begin.client_cpu_ns;
  printf("{\"mode\":\"%s\",\"connections\":%llu,\"size\":%llu,\"depth\":%llu,\"rate\":%llu",
         mode_name(options->mode), (unsigned long long)options->connections,
         (unsigned long long)options->size, (unsigned long long)options->depth,
         (unsigned long long)options->rate);
  printf(",\"seconds\":%.6f,\"messages\":%llu,\"messages_per_second\":%.2f", seconds,
         (unsigned long long)result->messages, (double)result->messages / seconds);
  printf(",\"bytes\":%llu,\"bytes_per_second\":%.2f,\"sent_bytes\":%llu,\"verified_bytes\":%llu",
         (unsigned long long)result->bytes, (double)result->bytes / seconds,
         (unsigned long long)result->sent, (unsigned long long)result->verified);
  printf(",\"unfinished\":%llu,\"lost\":%llu", (unsigned long long)result->unfinished,
         (unsigned long long)result->lost);
  print_latency(&result->latency);
  print_histogram(&result->latency);
  print_server(options, result);
  printf(",\"client\":{\"cpu_us\":%.3f,\"busy\":%.4f}}\n", us(client_ns),
         us(client_ns) / (seconds * 1e6));
}
