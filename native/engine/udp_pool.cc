// Bump allocation of received datagrams; see udp_pool.h.
#include "udp_pool.h"

#include <algorithm>
#include <cassert>

namespace marketplace::engine {

void UdpPool::add(uint32_t slab, uint8_t* base, uint32_t size) {
  assert(base != nullptr && size > 0);
  slabs_.push_back(Slab{slab, base, size, 0});
}

Memory UdpPool::rest() const {
  if (slabs_.empty()) return Memory{};
  const Slab& slab = slabs_.front();
  return Memory{slab.base + slab.used, slab.size - slab.used, slab.id, slab.used};
}

void UdpPool::commit(uint32_t length) {
  Slab& slab = slabs_.front();
  assert(length <= slab.size - slab.used);
  // Aligned starts let a program lay typed arrays over what it received.
  slab.used = std::min(slab.size, slab.used + aligned(length));
}

uint32_t UdpPool::spare_places() const {
  uint32_t places = 0;
  for (size_t i = 1; i < slabs_.size(); i++) places += slabs_[i].size / place_size;
  return places;
}

uint32_t UdpPool::retire() {
  const uint32_t id = slabs_.front().id;
  slabs_.pop_front();
  return id;
}

}  // namespace marketplace::engine
