// Bump allocation of received data; see slab.h.
#include "slab.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace marketplace::engine {

namespace {

// Neither text nor a likely length or address.
constexpr int poison_byte = 0xdb;

}  // namespace

void SlabPool::add(uint32_t slab, uint8_t* base, uint32_t size) {
  assert(base != nullptr && size > 0);
  slabs_.push_back(Slab{slab, base, size, 0, false});
}

Memory SlabPool::lease(uint32_t expected) const {
  const Slab& slab = slabs_.front();
  const uint32_t room = slab.size - slab.used;
  const bool fits = room >= expected && room >= lease_min;
  if (!fits && (slab.used > 0 && room < slab.size / 4)) return Memory{};
  if (room == 0) return Memory{};
  return Memory{slab.base + slab.used, std::min(room, lease_max), slab.id, slab.used};
}

Memory SlabPool::place(uint32_t length) const {
  const Slab& slab = slabs_.front();
  if (length > slab.size - slab.used) return Memory{};
  return Memory{slab.base + slab.used, length, slab.id, slab.used};
}

void SlabPool::commit(uint32_t length) {
  Slab& slab = slabs_.front();
  assert(length <= slab.size - slab.used);
  // Aligned starts let a program lay typed arrays over what it received.
  const uint32_t aligned = (length + 7u) & ~7u;
  slab.used = std::min(slab.size, slab.used + aligned);
  slab.exposed = true;
}

uint32_t SlabPool::retire() {
  const uint32_t id = slabs_.front().id;
  slabs_.pop_front();
  return id;
}

void SlabPool::put_aside() {
  aside_.push_back(slabs_.front());
  slabs_.pop_front();
}

bool SlabPool::retire_aside(uint32_t& id) {
  if (aside_.empty()) return false;
  id = aside_.front().id;
  aside_.pop_front();
  return true;
}

void SlabPool::rewind(bool poison) {
  // Those used last go first: they are warm in the cache.
  for (const Slab& slab : aside_) slabs_.push_front(slab);
  aside_.clear();
  for (Slab& slab : slabs_) {
    if (slab.used == 0) continue;
    if (poison) std::memset(slab.base, poison_byte, slab.used);
    slab.used = 0;
  }
}

}  // namespace marketplace::engine
