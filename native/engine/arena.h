// Memory for bytes that are needed until the end of a turn: they are copied to the end of it, and
// all go at once.
//
// Invariants: what was put stays where it is until `clear`; what one turn needed in excess of the
// usual is given back by then.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace marketplace::engine {

class Arena {
 public:
  // A place in it, to go back to.
  struct Mark {
    size_t chunk = 0;
    size_t used = 0;
  };

  // Where the bytes are from now on; right behind those of the last call, if there was room.
  const uint8_t* put(const uint8_t* data, size_t length) {
    if (chunks_.empty() || chunks_[end_.chunk].size - end_.used < length) next(length);
    uint8_t* place = chunks_[end_.chunk].bytes.get() + end_.used;
    std::memcpy(place, data, length);
    end_.used += length;
    return place;
  }

  Mark end() const { return end_; }
  // What was put since then is not needed any more: the same memory, which is in the CPU's cache,
  // is used again.
  void rewind(const Mark& mark) { end_ = mark; }

  // Memory that was never used before costs a fault for each of its pages: some is kept.
  void clear() {
    end_ = Mark{};
    if (chunks_.size() > chunks_kept) chunks_.resize(chunks_kept);
    if (!chunks_.empty() && oversized_) chunks_.clear();
    oversized_ = false;
  }

 private:
  static constexpr size_t chunk_size = 256 * 1024;
  static constexpr size_t chunks_kept = 8;

  struct Chunk {
    std::unique_ptr<uint8_t[]> bytes;
    size_t size;
  };

  void next(size_t length) {
    const size_t chunk = chunks_.empty() ? 0 : end_.chunk + 1;
    if (chunk == chunks_.size() || chunks_[chunk].size < length) {
      const size_t size = std::max(length, chunk_size);
      oversized_ = oversized_ || size > chunk_size;
      const auto place = chunks_.begin() + static_cast<ptrdiff_t>(chunk);
      chunks_.insert(place, Chunk{std::make_unique_for_overwrite<uint8_t[]>(size), size});
    }
    end_ = Mark{chunk, 0};
  }

  std::vector<Chunk> chunks_;
  Mark end_;
  bool oversized_ = false;
};

}  // namespace marketplace::engine
