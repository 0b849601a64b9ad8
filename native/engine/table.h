// A table of things that are known by a 31-bit id: an index, plus a generation that changes each
// time the index is reused, so that an id from before never finds its successor.
//
// An item can also be retired: its index is then used again only after `recycle`, for those who
// keep things by index and have not heard of the end yet.
//
// Invariants: an item stays at its address until it is removed; no valid id is 0; ids are positive
// as signed 32-bit numbers (they are small integers in JavaScript, too).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

namespace marketplace::engine {

constexpr uint32_t index_bits = 20;
constexpr uint32_t index_max = (1u << index_bits) - 1;
constexpr uint32_t generation_max = (1u << (31 - index_bits)) - 1;

constexpr uint32_t index_of(uint32_t id) {
  return id & index_max;
}

template <typename Item>
class Table {
 public:
  // A new item with its `id` set, or nullptr when the table or the memory is full.
  Item* insert() {
    if (free_.empty() && !grow()) return nullptr;
    const uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = at(index);
    slot.item.emplace();
    slot.item->id = slot.generation << index_bits | index;
    count_++;
    return &*slot.item;
  }

  Item* find(uint32_t id) {
    const uint32_t index = index_of(id);
    if (index >= capacity()) return nullptr;
    Slot& slot = at(index);
    return slot.item && slot.item->id == id ? &*slot.item : nullptr;
  }

  void remove(Item& item) { free_.push_back(vacate(item)); }

  void retire(Item& item) { retired_.push_back(vacate(item)); }

  void recycle() {
    free_.insert(free_.end(), retired_.begin(), retired_.end());
    retired_.clear();
  }

  uint32_t count() const { return count_; }
  uint32_t capacity() const { return static_cast<uint32_t>(chunks_.size()) * chunk_size; }

  // Visits every item; for rare operations only.
  template <typename Visitor>
  void each(Visitor visit) {
    for (uint32_t index = 0; index < capacity(); index++) {
      if (at(index).item) visit(*at(index).item);
    }
  }

 private:
  static constexpr uint32_t chunk_size = 64;

  struct Slot {
    std::optional<Item> item;
    uint32_t generation = 1;
  };
  using Chunk = std::array<Slot, chunk_size>;

  Slot& at(uint32_t index) { return (*chunks_[index / chunk_size])[index % chunk_size]; }

  uint32_t vacate(Item& item) {
    const uint32_t index = index_of(item.id);
    Slot& slot = at(index);
    slot.item.reset();
    slot.generation = slot.generation == generation_max ? 1 : slot.generation + 1;
    count_--;
    return index;
  }

  bool grow() {
    const uint32_t first = capacity();
    if (first + chunk_size - 1 > index_max) return false;
    std::unique_ptr<Chunk> chunk(new (std::nothrow) Chunk);
    if (!chunk) return false;
    chunks_.push_back(std::move(chunk));
    // Backwards, so that low indices are used first and the table stays dense.
    for (uint32_t i = chunk_size; i > 0; i--) free_.push_back(first + i - 1);
    return true;
  }

  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> retired_;
  uint32_t count_ = 0;
};

}  // namespace marketplace::engine
