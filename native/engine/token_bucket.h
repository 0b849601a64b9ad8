// A token bucket: so much per second, and so much at once after a rest.
//
// Invariants: it never has more than its burst, nor less than nothing; what comes in is exact, as
// it is counted in thousandths and by whole milliseconds; no product overflows, however long the
// rest was, and a clock that goes back brings nothing.
#pragma once

#include <algorithm>
#include <cstdint>

namespace marketplace::engine {

struct Rate {
  uint32_t per_second = 0;  // 0: no limit
  uint32_t burst = 0;       // at least 1, if there is a limit

  bool limits() const { return per_second != 0; }
};

// The rate is given anew each time: many buckets have the same one, and it may change.
class TokenBucket {
 public:
  // A full one.
  TokenBucket(const Rate& rate, int64_t now_ms) : level_(most(rate)), last_ms_(now_ms) {}

  // How many whole tokens there are.
  uint32_t available(const Rate& rate, int64_t now_ms) {
    refill(rate, now_ms);
    return static_cast<uint32_t>(level_ / unit);
  }

  // Takes so many, which have to be there: how many are left of those.
  uint32_t take(uint32_t tokens) {
    level_ -= tokens * unit;
    return static_cast<uint32_t>(level_ / unit);
  }

  bool full(const Rate& rate, int64_t now_ms) {
    refill(rate, now_ms);
    return level_ == most(rate);
  }

 private:
  static constexpr int64_t unit = 1000;

  static int64_t most(const Rate& rate) { return rate.burst * unit; }

  void refill(const Rate& rate, int64_t now_ms) {
    if (!rate.limits()) return;
    const int64_t passed = now_ms - last_ms_;
    if (passed > 0) last_ms_ = now_ms;
    const int64_t missing = most(rate) - level_;
    // A rest in which all of it comes back; also where the burst has become smaller.
    const bool fills = missing <= 0 || passed >= missing / rate.per_second + 1;
    if (fills && (passed > 0 || missing < 0)) {
      level_ = most(rate);
    } else if (passed > 0) {
      level_ = std::min(level_ + passed * rate.per_second, most(rate));
    }
  }

  int64_t level_;
  int64_t last_ms_;
};

}  // namespace marketplace::engine
