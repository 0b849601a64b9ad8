// Receiving: many datagrams per system call, straight into slabs.
//
// Each datagram gets a slot that fits what this socket received lately. What is longer runs over
// into memory that is used again and again, and is put together in a place of its own: only such
// datagrams are copied, and only until the slots have grown to their size.
#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "udp.h"

namespace marketplace::engine {

namespace {

constexpr uint32_t slot_min = 256;

}  // namespace

void UdpEngine::retire_slab() {
  report(UdpEvent::slab_retired, pool_.retire());
}

bool UdpEngine::receive(UdpSocket& socket) {
  for (int i = 0; i < receives_max && !socket.closing && room_for_records(); i++) {
    const Slots slots = make_slots(socket);
    if (slots.count == 0) return i > 0;
    prepare(socket, slots);
    const int result =
        ::recvmmsg(socket.descriptor.get(), messages_.data(), slots.count, MSG_TRUNC, nullptr);
    if (result < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) report(UdpEvent::receive_failed, socket.id, -errno);
      return true;
    }
    const uint32_t count = static_cast<uint32_t>(result);
    if (count > 0) take(socket, slots, count);
    // Less than was offered: there is no more, and asking would cost a system call.
    if (count < slots.count) return true;
  }
  return true;
}

UdpEngine::Slots UdpEngine::make_slots(const UdpSocket& socket) {
  Slots slots{};
  slots.size = std::min(socket.slot, socket.options.datagram_max);
  slots.stride = UdpPool::aligned(slots.size);
  while (!pool_.empty()) {
    slots.memory = pool_.rest();
    slots.count = std::min(batch_max, slots.memory.size / slots.stride);
    if (slots.count > 0) break;
    retire_slab();
  }
  if (slots.size < socket.options.datagram_max) {
    slots.count = std::min(slots.count, pool_.spare_places());
  }
  if (slots.count == 0) {
    slabs_short_ = true;
    report(UdpEvent::slabs_short, 0);
  }
  return slots;
}

void UdpEngine::prepare(const UdpSocket& socket, const Slots& slots) {
  const size_t over = socket.options.datagram_max - slots.size;
  for (uint32_t i = 0; i < slots.count; i++) {
    iovec* pieces = &pieces_[size_t{2} * i];
    pieces[0].iov_base = slots.memory.base + size_t{i} * slots.stride;
    pieces[0].iov_len = slots.size;
    pieces[1].iov_base = overflow_.get() + size_t{i} * UdpPool::place_size;
    pieces[1].iov_len = over;
    Address& from = addresses_[i];
    from.length = sizeof(from.storage);
    mmsghdr& message = messages_[i];
    message = mmsghdr{};
    message.msg_hdr.msg_name = from.data();
    message.msg_hdr.msg_namelen = from.length;
    message.msg_hdr.msg_iov = pieces;
    message.msg_hdr.msg_iovlen = over > 0 ? 2 : 1;
  }
}

void UdpEngine::take(UdpSocket& socket, const Slots& slots, uint32_t count) {
  // The last one's slot ends where its bytes do: when they come one by one, nothing is wasted.
  const uint32_t last = std::min(messages_[count - 1].msg_len, slots.size);
  pool_.commit((count - 1) * slots.stride + last);
  std::vector<uint32_t> retired;
  for (uint32_t i = 0; i < count; i++) {
    // With MSG_TRUNC this is the datagram's own length, whatever there was room for.
    const uint32_t length = messages_[i].msg_len;
    addresses_[i].length = messages_[i].msg_hdr.msg_namelen;
    if (length > socket.options.datagram_max) {
      report(UdpEvent::truncated, socket.id, addresses_[i], -EMSGSIZE, 0, length);
      continue;
    }
    learn(socket, length);
    Memory memory = slots.memory;
    memory.offset += i * slots.stride;
    if (length > slots.size) memory = put_together(slots, i, length, retired);
    report(UdpEvent::datagram, socket.id, addresses_[i], static_cast<int32_t>(memory.slab),
           memory.offset, length);
  }
  // Only now: datagrams in the slots of a retired slab were reported after its end.
  for (const uint32_t slab : retired) report(UdpEvent::slab_retired, slab);
}

Memory UdpEngine::put_together(const Slots& slots, uint32_t index, uint32_t length,
                               std::vector<uint32_t>& retired) {
  // There is a place, as no more slots were offered than there were places.
  if (pool_.rest().size < length) retired.push_back(pool_.retire());
  const Memory memory = pool_.rest();
  const uint8_t* slot = slots.memory.base + size_t{index} * slots.stride;
  const uint8_t* over = overflow_.get() + size_t{index} * UdpPool::place_size;
  std::memcpy(memory.base, slot, slots.size);
  std::memcpy(memory.base + slots.size, over, length - slots.size);
  pool_.commit(length);
  return memory;
}

// Slots grow as soon as one was too small, and shrink when many were too large.
void UdpEngine::learn(UdpSocket& socket, uint32_t length) {
  socket.longest = std::max(socket.longest, length);
  const uint32_t fitting =
      std::min(std::bit_ceil(std::max(socket.longest, slot_min)), UdpPool::place_size);
  if (++socket.sampled < UdpSocket::sample) {
    socket.slot = std::max(socket.slot, fitting);
    return;
  }
  socket.slot = fitting;
  socket.longest = 0;
  socket.sampled = 0;
}

}  // namespace marketplace::engine
