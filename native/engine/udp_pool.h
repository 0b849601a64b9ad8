// Memory that the host lends for received datagrams, filled by bump allocation.
//
// Unlike the pool for streams it keeps spare slabs behind the current one: a datagram that is
// longer than the slot it was received into is put together there, so that none is ever without a
// place.
//
// Invariants: a byte is handed out once; a slab is retired when too little of it is left, and is
// never touched again. The pool does not own the memory: whoever added it keeps it alive until the
// slab is reported as retired.
#pragma once

#include <cstdint>
#include <deque>

#include "slab.h"

namespace marketplace::engine {

class UdpPool {
 public:
  // What the longest datagram takes. Slabs are best a multiple of it.
  static constexpr uint32_t place_size = 64 * 1024;

  static constexpr uint32_t aligned(uint32_t length) { return (length + 7u) & ~7u; }

  void add(uint32_t slab, uint8_t* base, uint32_t size);

  // The unused part of the current slab; size 0 when there is none.
  Memory rest() const;
  // Says that the first `length` bytes of `rest` are in use now.
  void commit(uint32_t length);
  // How many datagrams of any length the slabs behind the current one take for sure.
  uint32_t spare_places() const;

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
