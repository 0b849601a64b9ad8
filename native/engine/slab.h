// Memory that the host lends for received data, filled by bump allocation.
//
// Invariants: a byte is handed out once; a slab is retired when too little of it is left, and is
// never touched again. The pool does not own the memory: whoever added it keeps it alive until the
// slab is reported as retired.
#pragma once

#include <cstdint>
#include <deque>

namespace marketplace::engine {

// A place for one receive. Size 0: there is none.
struct Memory {
  uint8_t* base = nullptr;
  uint32_t size = 0;
  uint32_t slab = 0;
  uint32_t offset = 0;
};

class SlabPool {
 public:
  // The most that one receive is offered: beyond it, bigger reads no longer save CPU.
  static constexpr uint32_t lease_max = 256 * 1024;
  // Less than this is not worth a system call, unless it is all that a small slab has.
  static constexpr uint32_t lease_min = 512;

  void add(uint32_t slab, uint8_t* base, uint32_t size);

  // The rest of the current slab, if it is enough for `expected` bytes or still a fair part of the
  // slab. Otherwise size 0, and `retire` has to be called before the next try.
  Memory lease(uint32_t expected) const;
  // Says that the first `length` bytes of the last lease are in use now.
  void commit(uint32_t length);

  bool empty() const { return slabs_.empty(); }
  // The slab that is filled at present. Only valid when not empty.
  uint32_t current() const { return slabs_.front().id; }
  bool current_started() const { return !slabs_.empty() && slabs_.front().used > 0; }
  // Gives up the current slab and returns its id.
  uint32_t retire();

 private:
  struct Slab {
    uint32_t id;
    uint8_t* base;
    uint32_t size;
    uint32_t used;
  };
  std::deque<Slab> slabs_;
};

}  // namespace marketplace::engine
