// The queue of unsent bytes; see output.h.
#include "output.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

namespace marketplace::engine {

namespace {

// Small writes share a segment; big ones are cut, so that memory is freed while they drain.
constexpr size_t segment_min = 16 * 1024;
constexpr size_t segment_max = 256 * 1024;

}  // namespace

// Of copies, header and bytes are one allocation. References have no room for more bytes.
struct OutputQueue::Segment {
  Segment* next;
  const uint8_t* base;
  size_t capacity;
  size_t begin;
  size_t end;
  Lender* lender;
  Loan loan;

  static Segment* copy(size_t capacity) {
    void* memory = std::malloc(sizeof(Segment) + capacity);
    if (memory == nullptr) return nullptr;
    Segment* segment = new (memory) Segment{nullptr, nullptr, capacity, 0, 0, nullptr, no_loan};
    segment->base = segment->bytes();
    return segment;
  }

  static Segment* reference(const uint8_t* data, size_t length, Lender& lender, Loan loan) {
    void* memory = std::malloc(sizeof(Segment));
    if (memory == nullptr) return nullptr;
    return new (memory) Segment{nullptr, data, length, 0, length, &lender, loan};
  }

  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(this + 1); }
};

bool OutputQueue::add(Segment* segment) {
  if (segment == nullptr) return false;
  (tail_ == nullptr ? head_ : tail_->next) = segment;
  tail_ = segment;
  return true;
}

bool OutputQueue::append(const uint8_t* data, size_t length) {
  while (length > 0) {
    if (tail_ == nullptr || tail_->end == tail_->capacity) {
      if (!add(Segment::copy(std::clamp(length, segment_min, segment_max)))) return false;
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

bool OutputQueue::refer(const uint8_t* data, size_t length, Lender& lender, Loan loan) {
  if (!add(Segment::reference(data, length, lender, loan))) return false;
  size_ += length;
  return true;
}

int OutputQueue::gather(iovec* pieces, int count_max) const {
  int count = 0;
  for (const Segment* s = head_; s != nullptr && count < count_max; s = s->next) {
    if (s->lender != nullptr && !s->lender->intact(s->loan)) return -EFAULT;
    pieces[count++] = iovec{const_cast<uint8_t*>(s->base + s->begin), s->end - s->begin};
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
    if (head_->begin == head_->end) drop_head();
  }
}

void OutputQueue::drop_head() {
  Segment* head = head_;
  head_ = head->next;
  if (head_ == nullptr) tail_ = nullptr;
  if (head->lender != nullptr) head->lender->give_back(head->loan);
  std::free(head);
}

void OutputQueue::clear() {
  while (head_ != nullptr) drop_head();
  size_ = 0;
}

}  // namespace marketplace::engine
