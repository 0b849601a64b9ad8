/*
 * A log-linear histogram in the manner of HdrHistogram: values below 2^7 have a bucket each, and
 * every octave above is cut into 128 equal steps. Recording is a few shifts and one increment.
 */
#include "load.h"

#include <string.h>

#define STEPS (1ull << HISTOGRAM_STEP_BITS)
#define VALUE_MAX ((1ull << (HISTOGRAM_OCTAVES + HISTOGRAM_STEP_BITS)) - 1)

static uint64_t bucket_of(uint64_t value) {
  if (value < STEPS) return value;
  const uint64_t octave = 63u - (uint64_t)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
  const uint64_t step = (value >> octave) - STEPS;
  return ((octave + 1) << HISTOGRAM_STEP_BITS) + step;
}

uint64_t histogram_low(uint64_t bucket) {
  if (bucket < STEPS) return bucket;
  const uint64_t octave = (bucket >> HISTOGRAM_STEP_BITS) - 1;
  return ((bucket & (STEPS - 1)) + STEPS) << octave;
}

/* The middle of a bucket. */
static uint64_t value_of(uint64_t bucket) {
  return (histogram_low(bucket) + histogram_low(bucket + 1)) / 2;
}

void histogram_reset(struct histogram *histogram) {
  memset(histogram, 0, sizeof *histogram);
}

void histogram_record(struct histogram *histogram, uint64_t value) {
  const uint64_t bounded = value > VALUE_MAX ? VALUE_MAX : value;
  histogram->counts[bucket_of(bounded)] += 1;
  histogram->total += 1;
  histogram->sum += value;
  if (value > histogram->max) histogram->max = value;
}

uint64_t histogram_quantile(const struct histogram *histogram, double fraction) {
  if (histogram->total == 0) return 0;
  uint64_t rank = (uint64_t)(fraction * (double)histogram->total + 0.999999);
  if (rank < 1) rank = 1;
  if (rank > histogram->total) rank = histogram->total;
  uint64_t seen = 0;
  for (uint64_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket += 1) {
    seen += histogram->counts[bucket];
    if (seen < rank) continue;
    const uint64_t value = value_of(bucket);
    return value < histogram->max ? value : histogram->max;
  }
  return histogram->max;
}
