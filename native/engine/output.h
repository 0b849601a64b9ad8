// Bytes that the kernel did not take yet, in order, in memory of the engine's own: what the caller
// does with its buffer afterwards changes nothing.
//
// Invariants: `size` is the sum of what the segments hold; every segment holds something.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

namespace marketplace::engine {

class OutputQueue {
 public:
  OutputQueue() = default;
  OutputQueue(const OutputQueue&) = delete;
  OutputQueue& operator=(const OutputQueue&) = delete;
  ~OutputQueue() { clear(); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Copies the bytes to the end. False, with nothing lost that was there, when memory is short.
  bool append(const uint8_t* data, size_t length);
  // Describes the first bytes in up to `count_max` pieces; returns how many were used.
  int gather(iovec* pieces, int count_max) const;
  // Forgets the first `length` bytes and frees what they used.
  void consume(size_t length);
  void clear();

 private:
  struct Segment;
  static Segment* allocate(size_t capacity);

  Segment* head_ = nullptr;
  Segment* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace marketplace::engine
