// What is known of the prefixes that peers come from: how many connections each has open, and how
// fast it may open more.
//
// Only what is worth knowing is kept: a prefix without connections is forgotten as soon as its
// bucket is full again. Those that wait for that are `idle`, and no more than a given number;
// beyond it the one that has waited longest is forgotten, and may then do at once what it had to
// wait for. Prefixes with connections are never forgotten: there are no more of them than
// connections.
//
// Invariants: the memory is bounded by the open connections and `idle_max`; each operation takes
// the same time however many there are (the table grows by doubling, now and then); nobody who
// chooses addresses can choose where they are put, as the hash is keyed.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "prefix.h"
#include "token_bucket.h"

namespace marketplace::engine {

class PrefixTable {
 public:
  static constexpr uint32_t none = UINT32_MAX;
  using Seed = std::array<uint64_t, 2>;

  struct Entry {
    Prefix prefix;
    TokenBucket bucket;
    uint32_t connections = 0;
    // Of those with the same place in the index, or of those that are free.
    uint32_t next = none;
    // Of those that are idle, from the one that has been it for longest.
    uint32_t older = none;
    uint32_t younger = none;
  };

  PrefixTable(uint32_t idle_max, const Seed& seed) : idle_max_(idle_max), seed_(seed) {}

  // Takes effect as others become idle.
  void limit_idle(uint32_t idle_max) { idle_max_ = idle_max; }

  // Its entry, or `none`.
  uint32_t find(const Prefix& prefix) const;
  Entry& at(uint32_t entry) { return entries_[entry]; }

  // One more connection of this prefix, whose entry is known, or not there.
  uint32_t open(uint32_t entry, const Prefix& prefix, const Rate& rate, int64_t now_ms);
  // One less.
  void close(uint32_t entry, const Rate& rate, int64_t now_ms);

  // All that are there, and those of them without connections.
  uint32_t count() const { return count_; }
  uint32_t idle() const { return idle_; }

 private:
  uint64_t hash(const Prefix& prefix) const;
  uint32_t place(const Prefix& prefix) const {
    return static_cast<uint32_t>(hash(prefix)) & (static_cast<uint32_t>(index_.size()) - 1);
  }
  uint32_t add(const Prefix& prefix, const Rate& rate, int64_t now_ms);
  void grow();
  void remove(uint32_t entry);
  void rest(uint32_t entry);
  void wake(uint32_t entry);
  void forget_idle(const Rate& rate, int64_t now_ms);

  uint32_t idle_max_;
  Seed seed_;
  std::vector<uint32_t> index_;
  std::vector<Entry> entries_;
  uint32_t free_ = none;
  uint32_t count_ = 0;
  uint32_t idle_ = 0;
  uint32_t oldest_ = none;
  uint32_t youngest_ = none;
};

}  // namespace marketplace::engine
