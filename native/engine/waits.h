// How long it took lately until the next event came, to tell whether it is worth to wait for the
// next one awake.
//
// Invariants: one wait that is long by far ends the guess that waits are short, and only short ones
// begin it again, five at most: where waits are long, a wrong guess is rare. A wait is counted
// once, however often the host stirs in between.
#pragma once

#include <algorithm>
#include <cstdint>

namespace marketplace::engine {

class Waits {
 public:
  // Nanoseconds, as all times here. A wait below it is short.
  explicit Waits(uint64_t limit = 0) : limit_(limit), mean_(limit) {}

  // Nothing is left to do. Ignored while something is waited for already.
  void begin(uint64_t now) {
    if (begun_ == 0) begun_ = now;
  }
  // Something has happened.
  void end(uint64_t now) {
    if (begun_ == 0) return;
    const uint64_t wait = std::min(now - std::min(begun_, now), limit_ * weight);
    mean_ = mean_ - mean_ / weight + wait / weight;
    begun_ = 0;
  }
  // Of the last few, the last one most. Not so before anything is known.
  bool are_short() const { return mean_ < limit_; }

 private:
  // The last wait's part of the mean is one in so many; a longer one than so many limits counts as
  // that. So one of those is enough for the mean to be no less than the limit.
  static constexpr uint64_t weight = 4;

  uint64_t limit_;
  uint64_t mean_;
  // 0: nothing is waited for.
  uint64_t begun_ = 0;
};

}  // namespace marketplace::engine
