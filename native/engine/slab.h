// Memory that the host lends for received data, filled by bump allocation.
//
// Invariants: a byte is handed out once, unless `rewind` is called; a slab is retired when too
// little of it is left, and is never touched again. The pool does not own the memory: whoever added
// it keeps it alive until the slab is reported as retired.
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
  // A place of exactly this length in the current slab, if there is room for it. Size 0: as above.
  Memory place(uint32_t length) const;
  // Says that the first `length` bytes of the last lease or place are in use now.
  void commit(uint32_t length);

  bool empty() const { return slabs_.empty(); }
  // Gives up the current slab and returns its id.
  uint32_t retire();

  // Puts the current slab aside, to be filled again after `rewind`.
  void put_aside();
  // Gives up one that was put aside. False if there is none.
  bool retire_aside(uint32_t& id);
  // What was handed out is free again; `poison`: and overwritten, so that late readers notice.
  void rewind(bool poison);

  // Gives up the first slab that the host's program may have its hands on and that is lost, as
  // `lost` says by id. False if there is none.
  template <typename Lost>
  bool retire_lost(Lost lost, uint32_t& id);

 private:
  struct Slab {
    uint32_t id;
    uint8_t* base;
    uint32_t size;
    uint32_t used;
    // Bytes of it were handed out. Those that are exposed precede those that are not.
    bool exposed;
  };
  std::deque<Slab> slabs_;
  std::deque<Slab> aside_;
};

// Both lists begin with what is exposed.

template <typename Lost>
bool SlabPool::retire_lost(Lost lost, uint32_t& id) {
  for (std::deque<Slab>* list : {&slabs_, &aside_}) {
    for (auto slab = list->begin(); slab != list->end() && slab->exposed; slab++) {
      if (!lost(slab->id)) continue;
      id = slab->id;
      list->erase(slab);
      return true;
    }
  }
  return false;
}

}  // namespace marketplace::engine
