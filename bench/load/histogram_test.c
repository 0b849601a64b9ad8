/*
 * Checks the histogram: exact for small values, better than 1 % above, quantiles in order.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

static struct histogram histogram;

static void expect_near(const char *what, uint64_t got, uint64_t expected) {
  const double error = ((double)got - (double)expected) / (expected == 0 ? 1.0 : (double)expected);
  if (error < 0.01 && error > -0.01) return;
  fprintf(stderr, "%s: expected about %llu, got %llu\n", what, (unsigned long long)expected,
          (unsigned long long)got);
  exit(1);
}

int main(void) {
  for (uint64_t value = 1; value < 1ull << 40; value = value * 3 / 2 + 1) {
    histogram_reset(&histogram);
    histogram_record(&histogram, value);
    histogram_record(&histogram, value * 2);
    expect_near("a single value", histogram_quantile(&histogram, 0.5), value);
    expect_near("the maximum", histogram_quantile(&histogram, 1.0), value * 2);
  }
  histogram_reset(&histogram);
  expect_near("nothing recorded", histogram_quantile(&histogram, 0.5), 0);
  for (uint64_t value = 1; value <= 100000; value += 1) histogram_record(&histogram, value);
  expect_near("p50", histogram_quantile(&histogram, 0.5), 50000);
  expect_near("p99", histogram_quantile(&histogram, 0.99), 99000);
  expect_near("p99.9", histogram_quantile(&histogram, 0.999), 99900);
  histogram_record(&histogram, UINT64_MAX / 2);
  expect_near("a huge value is kept as the maximum", histogram.max, UINT64_MAX / 2);
  puts("histogram: ok");
  return 0;
}
