// Provided buffers; see uring_buffers.h.
#include "uring_buffers.h"

#include <atomic>
#include <cerrno>

namespace marketplace::engine::uring {

namespace {

struct Shape {
  uint32_t count;
  uint32_t size;
};

// Both are 256 KiB in all. That is plenty for the small messages of the twenty sockets or so that
// the kernel serves at a time, stays in a second-level cache, and is no more than a fast sender may
// have ahead of the others. Bigger receives take another way; see uring.h.
constexpr Shape incremental_shape{8, 32 * 1024};
constexpr Shape whole_shape{64, 4 * 1024};

}  // namespace

int ReceiveBuffers::open(const Ring& ring, bool incremental) {
  const Shape shape = incremental ? incremental_shape : whole_shape;
  incremental_ = incremental;
  count_ = shape.count;
  size_ = shape.size;
  used_.assign(count_, 0);
  int result = 0;
  if (ring_memory_.base() == nullptr) {
    result = ring_memory_.allocate(whole_shape.count * sizeof(Buffer));
    if (result < 0) return result;
    result = memory_.allocate(size_t{count_} * size_);
    if (result < 0) return result;
  }
  BufferRegistration registration{};
  registration.ring_addr = reinterpret_cast<uintptr_t>(ring_memory_.base());
  registration.ring_entries = count_;
  registration.group = group;
  registration.flags = incremental ? buffer_ring_incremental : 0;
  result = ring.add(register_buffer_ring, &registration, 1);
  if (result < 0) return result;
  for (uint32_t id = 0; id < count_; id++) provide(static_cast<uint16_t>(id));
  return 0;
}

void ReceiveBuffers::provide(uint16_t id) {
  Buffer* buffers = ring_memory_.at<Buffer>(0);
  Buffer& buffer = buffers[tail_ & (count_ - 1)];
  used_[id] = 0;
  buffer.addr = reinterpret_cast<uintptr_t>(memory_.base()) + size_t{id} * size_;
  buffer.len = size_;
  buffer.id = id;
  tail_++;
  free_++;
  std::atomic_ref<uint16_t>(buffers[0].tail).store(tail_, std::memory_order_release);
}

// Whether the kernel is done with the block of this completion.
bool ReceiveBuffers::used_up(const Cqe& cqe) const {
  if ((cqe.flags & cqe_buffer) == 0) return false;
  return !incremental_ || (cqe.flags & cqe_buffer_more) == 0;
}

Received ReceiveBuffers::take(const Cqe& cqe) {
  if (used_up(cqe) && free_ > 0) free_--;
  const uint32_t id = cqe.flags >> cqe_buffer_shift;
  const uint32_t length = cqe.res > 0 ? static_cast<uint32_t>(cqe.res) : 0;
  if (id >= count_ || length > size_ - used_[id]) return Received{nullptr, length};
  const uint8_t* data = memory_.base() + size_t{id} * size_ + used_[id];
  used_[id] += length;
  return Received{data, length};
}

void ReceiveBuffers::done(const Cqe& cqe) {
  if (!used_up(cqe)) return;
  const uint32_t id = cqe.flags >> cqe_buffer_shift;
  if (id < count_) provide(static_cast<uint16_t>(id));
}

void ReceiveBuffers::leak() {
  ring_memory_.leak();
  memory_.leak();
}

}  // namespace marketplace::engine::uring
