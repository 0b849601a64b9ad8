// See prefix_table.h.
#include "prefix_table.h"

#include <bit>
#include <cassert>
#include <utility>

namespace marketplace::engine {

namespace {

constexpr size_t index_min = 64;
// So many of the idle are looked at when another prefix comes: more than can have come since.
constexpr int looks = 2;

}  // namespace

// SipHash-1-3 (Aumasson and Bernstein, 2012) of the two words.
uint64_t PrefixTable::hash(const Prefix& prefix) const {
  uint64_t a = seed_[0] ^ 0x736f6d6570736575;
  uint64_t b = seed_[1] ^ 0x646f72616e646f6d;
  uint64_t c = seed_[0] ^ 0x6c7967656e657261;
  uint64_t d = seed_[1] ^ 0x7465646279746573;
  const auto round = [&] {
    a += b;
    b = std::rotl(b, 13) ^ a;
    a = std::rotl(a, 32);
    c += d;
    d = std::rotl(d, 16) ^ c;
    a += d;
    d = std::rotl(d, 21) ^ a;
    c += b;
    b = std::rotl(b, 17) ^ c;
    c = std::rotl(c, 32);
  };
  const uint64_t length = uint64_t{16} << 56;
  for (const uint64_t word : {prefix.high, prefix.low, length}) {
    d ^= word;
    round();
    a ^= word;
  }
  c ^= 0xff;
  round();
  round();
  round();
  return a ^ b ^ c ^ d;
}

uint32_t PrefixTable::find(const Prefix& prefix) const {
  if (index_.empty()) return none;
  uint32_t entry = index_[place(prefix)];
  while (entry != none && entries_[entry].prefix != prefix) entry = entries_[entry].next;
  return entry;
}

uint32_t PrefixTable::open(uint32_t entry, const Prefix& prefix, const Rate& rate, int64_t now_ms) {
  const bool idle = entry != none && entries_[entry].connections == 0;
  forget_idle(rate, now_ms);
  // It may have been among them.
  if (idle) entry = find(prefix);
  if (entry == none) entry = add(prefix, rate, now_ms);
  if (entries_[entry].connections++ == 0) wake(entry);
  return entry;
}

void PrefixTable::close(uint32_t entry, const Rate& rate, int64_t now_ms) {
  assert(entry < entries_.size() && entries_[entry].connections > 0);
  if (--entries_[entry].connections > 0) return;
  rest(entry);
  if (!rate.limits() || entries_[entry].bucket.full(rate, now_ms)) {
    remove(entry);
  } else {
    while (idle_ > idle_max_) remove(oldest_);
  }
}

void PrefixTable::forget_idle(const Rate& rate, int64_t now_ms) {
  for (int i = 0; i < looks && oldest_ != none; i++) {
    if (rate.limits() && !entries_[oldest_].bucket.full(rate, now_ms)) return;
    remove(oldest_);
  }
}

// It has no connections, and is idle until it is woken.
uint32_t PrefixTable::add(const Prefix& prefix, const Rate& rate, int64_t now_ms) {
  if (count_ >= index_.size()) grow();
  const Entry fresh{prefix, TokenBucket(rate, now_ms)};
  uint32_t entry = free_;
  if (entry == none) {
    entry = static_cast<uint32_t>(entries_.size());
    entries_.push_back(fresh);
  } else {
    free_ = entries_[entry].next;
    entries_[entry] = fresh;
  }
  uint32_t& first = index_[place(prefix)];
  entries_[entry].next = first;
  first = entry;
  count_++;
  rest(entry);
  return entry;
}

void PrefixTable::grow() {
  index_.assign(index_.empty() ? index_min : index_.size() * 2, none);
  // All of them are in use.
  for (uint32_t entry = 0; entry < entries_.size(); entry++) {
    uint32_t& first = index_[place(entries_[entry].prefix)];
    entries_[entry].next = first;
    first = entry;
  }
}

void PrefixTable::remove(uint32_t entry) {
  wake(entry);
  uint32_t* link = &index_[place(entries_[entry].prefix)];
  while (*link != entry) link = &entries_[*link].next;
  *link = entries_[entry].next;
  entries_[entry].next = free_;
  free_ = entry;
  // What a crowd has left goes with the last of it.
  if (--count_ > 0 || index_.size() == index_min) return;
  index_ = {};
  entries_ = {};
  free_ = none;
}

void PrefixTable::rest(uint32_t entry) {
  entries_[entry].older = youngest_;
  entries_[entry].younger = none;
  (youngest_ == none ? oldest_ : entries_[youngest_].younger) = entry;
  youngest_ = entry;
  idle_++;
}

void PrefixTable::wake(uint32_t entry) {
  const auto [older, younger] = std::pair{entries_[entry].older, entries_[entry].younger};
  (older == none ? oldest_ : entries_[older].younger) = younger;
  (younger == none ? youngest_ : entries_[younger].older) = older;
  idle_--;
}

}  // namespace marketplace::engine
