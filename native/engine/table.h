// A table of things that are known by two names. A key is never used a second time, so that whoever
// keeps one, for however long, never finds somebody else by it. An id is short (31 bits: a small
// integer in JavaScript, too) and comes back after a few thousand uses of its index, so that it is
// good only for those who are told when its owner goes.
//
// An item that goes is therefore retired: its index is used again only when all has been read that
// was reported until then, the item's end included.
//
// Invariants: an item stays at its address until it is removed; no valid id or key is 0; ids are
// positive as signed 32-bit numbers; an index whose keys are used up is never used again.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "layout.h"

namespace marketplace::engine {

// A generation above an index. An index that was used 34 thousand million times is given up.
using Key = uint64_t;

constexpr uint32_t index_max = (1u << index_bits) - 1;
// What of the generation is in an id.
constexpr uint32_t generation_max = (1u << (31 - index_bits)) - 1;
constexpr uint32_t key_bits = 55;
constexpr uint64_t key_generation_max = (uint64_t{1} << (key_bits - index_bits)) - 1;

constexpr uint32_t index_of(uint32_t id) {
  return id & index_max;
}

// Items are of one of several kinds, all of which derive from `Base`; without any, they are `Base`.
// `generation_last` is a parameter for the tests.
template <typename Base, uint64_t generation_last = key_generation_max, typename... Kinds>
class Table {
 public:
  // A new item with its `id` and `key` set, or nullptr when the table or the memory is full.
  template <typename Item = Base>
  Item* insert() {
    if (free_.empty() && !grow()) return nullptr;
    const uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = at(index);
    Item& item = slot.storage.template emplace<Item>();
    item.key = slot.generation << index_bits | index;
    const uint32_t generation = static_cast<uint32_t>((slot.generation - 1) % generation_max) + 1;
    item.id = generation << index_bits | index;
    slot.item = &item;
    count_++;
    return &item;
  }

  // By its id; nullptr also if it is of another kind. Only for those who cannot have one whose end
  // was reported to them.
  template <typename Item = Base>
  Item* find(uint32_t id) {
    Slot* slot = slot_of(index_of(id));
    return slot != nullptr && slot->item->id == id ? as<Item>(*slot) : nullptr;
  }

  template <typename Item = Base>
  Item* find_key(Key key) {
    Slot* slot = slot_of(static_cast<uint32_t>(key & index_max));
    return slot != nullptr && slot->item->key == key ? as<Item>(*slot) : nullptr;
  }

  // Of an item that nobody was told of.
  void remove(Base& item) { reuse(vacate(item)); }

  // `reported`: how much had been reported in all when the item ended.
  void retire(Base& item, uint64_t reported) {
    retired_.push_back(Retired{reported, vacate(item)});
  }

  // `read`: how much of what was ever reported has been read.
  void recycle(uint64_t read) {
    for (; !retired_.empty() && retired_.front().reported <= read; retired_.pop_front()) {
      reuse(retired_.front().index);
    }
  }

  uint32_t count() const { return count_; }
  uint32_t capacity() const { return static_cast<uint32_t>(chunks_.size()) * chunk_size; }

  // Visits every item of a kind; for rare operations only.
  template <typename Item = Base, typename Visitor>
  void each(Visitor visit) {
    for (uint32_t index = 0; index < capacity(); index++) {
      Slot& slot = at(index);
      if (slot.item == nullptr) continue;
      if (Item* item = as<Item>(slot)) visit(*item);
    }
  }

 private:
  static constexpr uint32_t chunk_size = 64;

  using Storage = std::conditional_t<sizeof...(Kinds) == 0, std::variant<std::monostate, Base>,
                                     std::variant<std::monostate, Kinds...>>;
  struct Slot {
    Storage storage;
    // What is in there, if anything is.
    Base* item = nullptr;
    uint64_t generation = 1;
  };
  using Chunk = std::array<Slot, chunk_size>;
  struct Retired {
    uint64_t reported;
    uint32_t index;
  };

  template <typename Item>
  static Item* as(Slot& slot) {
    if constexpr (std::is_same_v<Item, Base>) {
      return slot.item;
    } else {
      return std::get_if<Item>(&slot.storage);
    }
  }

  Slot& at(uint32_t index) { return (*chunks_[index / chunk_size])[index % chunk_size]; }

  // The slot, if there is an item in it.
  Slot* slot_of(uint32_t index) {
    if (index >= capacity()) return nullptr;
    Slot& slot = at(index);
    return slot.item != nullptr ? &slot : nullptr;
  }

  uint32_t vacate(Base& item) {
    const uint32_t index = index_of(item.id);
    Slot& slot = at(index);
    slot.item = nullptr;
    slot.storage.template emplace<std::monostate>();
    slot.generation++;
    count_--;
    return index;
  }

  void reuse(uint32_t index) {
    if (at(index).generation <= generation_last) free_.push_back(index);
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
  std::deque<Retired> retired_;
  uint32_t count_ = 0;
};

}  // namespace marketplace::engine
