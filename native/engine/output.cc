// The queue of unsent bytes; see output.h.
#include "output.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

namespace marketplace::engine {

namespace {

// Small writes share a segment; big ones are cut, so that memory is freed while they drain.
constexpr size_t segment_min = 16 * 1024;
constexpr size_t segment_max = 256 * 1024;

}  // namespace

// Header and bytes are one allocation.
struct OutputQueue::Segment {
  Segment* next;
  size_t capacity;
  size_t begin;
  size_t end;

  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(this + 1); }
};

OutputQueue::Segment* OutputQueue::allocate(size_t capacity) {
  void* memory = std::malloc(sizeof(Segment) + capacity);
  return memory == nullptr ? nullptr : new (memory) Segment{nullptr, capacity, 0, 0};
}

bool OutputQueue::append(const uint8_t* data, size_t length) {
  while (length > 0) {
    if (tail_ == nullptr || tail_->end == tail_->capacity) {
      Segment* segment = allocate(std::clamp(length, segment_min, segment_max));
      if (segment == nullptr) return false;
      (tail_ == nullptr ? head_ : tail_->next) = segment;
      tail_ = segment;
    }
    const size_t part = std::min(length, tail_->capacity - tail_->end);
    std::memcpy(tail_->bytes() + tail_->end, data, part);
    tail_->end += part;
    size_ += part;
    data += part;
    length -= part;
  }
  return true;
}

int OutputQueue::gather(iovec* pieces, int count_max) const {
  int count = 0;
  for (Segment* s = head_; s != nullptr && count < count_max; s = s->next) {
    pieces[count++] = iovec{s->bytes() + s->begin, s->end - s->begin};
  }
  return count;
}

void OutputQueue::consume(size_t length) {
  assert(length <= size_);
  size_ -= length;
  while (length > 0) {
    const size_t part = std::min(length, head_->end - head_->begin);
    head_->begin += part;
    length -= part;
    if (head_->begin < head_->end) break;
    Segment* next = head_->next;
    std::free(head_);
    head_ = next;
    if (head_ == nullptr) tail_ = nullptr;
  }
}

void OutputQueue::clear() {
  while (head_ != nullptr) {
    Segment* next = head_->next;
    std::free(head_);
    head_ = next;
  }
  tail_ = nullptr;
  size_ = 0;
}

}  // namespace marketplace::engine
