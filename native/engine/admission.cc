// See admission.h.
#include "admission.h"

#include <algorithm>

#include "socket.h"

namespace marketplace::engine {

Admission::Admission(const ListenLimits& limits, const PrefixTable::Seed& seed)
    : limits_(limits),
      all_(limits.rate, limits.rate.limits() ? monotonic_ms() : 0),
      prefixes_(limits.idle_prefixes_max, seed) {}

void Admission::change(const ListenLimits& limits, int64_t now_ms) {
  const ListenLimits before = limits_;
  limits_ = limits;
  if (prefixes_.count() > 0) {
    limits_.prefix_v4 = before.prefix_v4;
    limits_.prefix_v6 = before.prefix_v6;
  }
  prefixes_.limit_idle(limits_.idle_prefixes_max);
  if (!before.rate.limits()) all_ = TokenBucket(limits_.rate, now_ms);
}

bool Admission::is_exempt(const Address& peer) const {
  return std::ranges::any_of(exempt_, [&](const PrefixRange& one) { return contains(one, peer); });
}

Admission::Decision Admission::admit(const Address& peer) {
  if (connections_ >= limits_.connections_max()) return {false, Limit::max_connections, no_prefix};
  const bool by_peer = by_prefix() && !is_exempt(peer);
  const bool timed = limits_.rate.limits() || (by_peer && limits_.prefix_rate.limits());
  const int64_t now_ms = timed ? monotonic_ms() : 0;
  Prefix prefix;
  uint32_t entry = no_prefix;
  if (by_peer) {
    prefix = prefix_of(peer, {limits_.prefix_v4, limits_.prefix_v6});
    entry = prefixes_.find(prefix);
  }
  if (entry != no_prefix) {
    PrefixTable::Entry& known = prefixes_.at(entry);
    if (limits_.prefix_connections_max > 0 && known.connections >= limits_.prefix_connections_max) {
      return {false, Limit::connections_per_prefix, no_prefix};
    }
    if (limits_.prefix_rate.limits() && known.bucket.available(limits_.prefix_rate, now_ms) == 0) {
      return {false, Limit::accept_rate_per_prefix, no_prefix};
    }
  }
  if (limits_.rate.limits()) {
    if (all_.available(limits_.rate, now_ms) == 0) return {false, Limit::accept_rate, no_prefix};
    all_.take(1);
  }
  connections_++;
  if (!by_peer) return {true, {}, no_prefix};
  entry = prefixes_.open(entry, prefix, limits_.prefix_rate, now_ms);
  if (limits_.prefix_rate.limits()) prefixes_.at(entry).bucket.take(1);
  return {true, {}, entry};
}

void Admission::leave(uint32_t prefix) {
  connections_--;
  if (prefix == no_prefix) return;
  const int64_t now_ms = limits_.prefix_rate.limits() ? monotonic_ms() : 0;
  prefixes_.close(prefix, limits_.prefix_rate, now_ms);
}

}  // namespace marketplace::engine
