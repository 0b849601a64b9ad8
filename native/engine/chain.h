// A list through its items: each has its place in it within itself, so that being put in and taken
// out costs no memory and no search, and an item that goes takes itself out.
//
// Invariants: an item is in at most one of the chains that share a link; the chain does not own its
// items.
#pragma once

#include <cassert>
#include <cstddef>

namespace marketplace::engine {

template <typename Item>
struct Link {
  Item* next = nullptr;
  Item* previous = nullptr;
  bool linked = false;
};

template <typename Item, Link<Item> Item::*link>
class Chain {
 public:
  bool empty() const { return first_ == nullptr; }
  size_t size() const { return size_; }
  Item* first() const { return first_; }

  void push_back(Item& item) {
    Link<Item>& place = item.*link;
    assert(!place.linked);
    place = Link<Item>{nullptr, last_, true};
    (last_ == nullptr ? first_ : (last_->*link).next) = &item;
    last_ = &item;
    size_++;
  }

  // Of an item that is in this chain.
  void remove(Item& item) {
    Link<Item>& place = item.*link;
    assert(place.linked);
    (place.previous == nullptr ? first_ : (place.previous->*link).next) = place.next;
    (place.next == nullptr ? last_ : (place.next->*link).previous) = place.previous;
    place = Link<Item>{};
    size_--;
  }

  // The first, which is in it no longer; nullptr if there is none.
  Item* pop_front() {
    Item* item = first_;
    if (item != nullptr) remove(*item);
    return item;
  }

 private:
  Item* first_ = nullptr;
  Item* last_ = nullptr;
  size_t size_ = 0;
};

}  // namespace marketplace::engine
