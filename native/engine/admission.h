// Who may come in: a listener's limits, and what it has counted for them.
//
// What is refused costs the two numbers of the decision, and leaves nothing: tokens are taken, and
// prefixes remembered, only of what is admitted. So who is refused for one limit uses up nothing of
// another one that others need.
//
// Invariants: `connections` is the number of connections that were admitted and have not left; a
// connection's place in the table of prefixes is valid until it leaves.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "address.h"
#include "layout.h"
#include "options.h"
#include "prefix_table.h"

namespace marketplace::engine {

// How often each limit did something, since the listener was there.
using LimitCounts = std::array<uint64_t, limit_count>;

class Admission {
 public:
  // A connection that doesn't count for a prefix.
  static constexpr uint32_t no_prefix = PrefixTable::none;

  struct Decision {
    bool admitted;
    Limit refused_for;  // if it is not
    uint32_t prefix;    // if it is
  };

  Admission(const ListenLimits& limits, const PrefixTable::Seed& seed);

  const ListenLimits& limits() const { return limits_; }
  // From now on; connections that are open stay. So do the lengths of prefixes, while some are
  // known.
  void change(const ListenLimits& limits, int64_t now_ms);
  // Peers that are not counted by prefix.
  void exempt(std::vector<PrefixRange> ranges) { exempt_ = std::move(ranges); }

  Decision admit(const Address& peer);
  // Of one that was admitted.
  void leave(uint32_t prefix);

  uint32_t connections() const { return connections_; }
  uint32_t prefixes() const { return prefixes_.count(); }

  LimitCounts counts{};

 private:
  bool by_prefix() const {
    return limits_.prefix_connections_max > 0 || limits_.prefix_rate.limits();
  }
  bool is_exempt(const Address& peer) const;

  ListenLimits limits_;
  uint32_t connections_ = 0;
  TokenBucket all_;
  PrefixTable prefixes_;
  std::vector<PrefixRange> exempt_;
};

}  // namespace marketplace::engine
