// Whose memory the engine sends from after `flush`: that of the bytes which the kernel did not take
// at once, and which are worth more than a copy.
//
// Invariants: a loan is given back exactly once; between `intact` and the send that it was asked
// for, nothing of the host's runs; the engine only reads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace marketplace::engine {

// What the host calls the memory of one write, for the flush that follows; 0: not to be lent.
using Source = uint32_t;
constexpr Source no_source = 0;
// What the host calls memory that it has lent; 0: none.
using Loan = uint32_t;
constexpr Loan no_loan = 0;

class Lender {
 public:
  // `length` bytes of this memory are needed for longer. Without a loan they are copied.
  virtual Loan lend(Source source, size_t length) = 0;
  // Whether the memory is where it was: the host may have taken it away.
  virtual bool intact(Loan loan) = 0;
  virtual void give_back(Loan loan) = 0;

 protected:
  ~Lender() = default;
};

}  // namespace marketplace::engine
