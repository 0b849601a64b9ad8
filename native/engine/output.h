// Bytes that the kernel did not take yet, in order: copies in memory of the engine's own, and
// references to the caller's, which stays lent for as long.
//
// Invariants: `size` is the sum of what the segments hold; every segment holds something; lent
// memory is read only after it was found intact, and given back with the last of its bytes.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "lender.h"

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
  // Puts a reference to the bytes at the end. False, and then the loan is still the caller's, when
  // memory is short.
  bool refer(const uint8_t* data, size_t length, Lender& lender, Loan loan);
  // Describes the first bytes in up to `count_max` pieces; returns how many were used, or -EFAULT
  // if the memory of one of them was taken away.
  int gather(iovec* pieces, int count_max) const;
  // Forgets the first `length` bytes, frees and gives back what they used.
  void consume(size_t length);
  void clear();

 private:
  struct Segment;
  bool add(Segment* segment);
  void drop_head();

  Segment* head_ = nullptr;
  Segment* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace marketplace::engine
