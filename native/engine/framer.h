// Where the frames of a stream end: a search that goes on from piece to piece.
//
// It knows frames that are right and not too long. Whatever is unusual it calls so, and whoever has
// the bytes then says what is wrong with them: src/transport/seam/framing.ts, which does the same
// search.
//
// Invariants: each byte is looked at a bounded number of times, whatever a peer sends and however
// it comes in pieces; a frame's length is compared with the limit before it is believed; after
// `unusual` there is no more search.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "layout.h"

namespace marketplace::engine {

// Which frames to look for, and where in one the search begins. See native/layout.mjs.
struct FrameOrder {
  uint32_t generation = 0;
  uint32_t position = 0;
  FrameKind kind = FrameKind::bytes;
  uint32_t size = 0;
  uint32_t offset = 0;
  int32_t adjust = 0;
  bool little = false;
  uint32_t longest = 0;
  uint32_t seen = 0;
  uint32_t whole = 0;
  uint32_t matched = 0;
  bool after_cr = false;
  // As many bytes as `size` says, of `FrameKind::delimiter`; they are copied.
  const uint8_t* delimiter = nullptr;
};

class Framer {
 public:
  enum class Outcome : uint8_t { whole, partial, unusual };
  struct Found {
    Outcome outcome;
    // Up to the end of the frame.
    size_t length;
  };
  static constexpr size_t delimiter_max = 255;

  // Whether there can be a search for this.
  static bool takes(const FrameOrder& order);
  explicit Framer(const FrameOrder& order);

  // Whether the last bytes are the begin of a frame. What belongs to the end of the one before it
  // is no begin.
  bool begun() const { return seen_ > leading_; }
  // Looks at the bytes that follow those it was given before.
  Found scan(const uint8_t* data, size_t length);

 private:
  struct Delimiter {
    std::array<uint8_t, delimiter_max> bytes;
    // How many of the first bytes are still matched after a mismatch (Knuth, Morris and Pratt,
    // 1977).
    std::array<uint8_t, delimiter_max> borders;
  };

  Found count(size_t length);
  Found read_length(const uint8_t* data, size_t length);
  Found read_varint(const uint8_t* data, size_t length);
  Found read_delimited(const uint8_t* data, size_t length);
  Found read_line(const uint8_t* data, size_t length);
  Found partial(size_t length);
  Found whole(size_t length);
  // What a field says. False: there is no such frame, or it is too long.
  bool take_field(uint64_t header, int64_t adjust);

  const FrameKind kind_;
  const bool little_;
  const uint32_t size_;
  const uint32_t offset_;
  const int32_t adjust_;
  const uint32_t longest_;

  // Bytes of the frame at hand that were looked at, and how many it has in all; 0 as long as that
  // is not known.
  uint64_t seen_;
  uint64_t whole_;
  // What the bytes of a field have made so far.
  uint64_t field_ = 0;
  // So many of the last bytes are the first of the delimiter.
  size_t matched_;
  // The last line ended with CR: an LF that comes next is at the front of the next one, and does
  // not count.
  bool after_cr_;
  uint64_t leading_ = 0;
  std::unique_ptr<Delimiter> delimiter_;
};

}  // namespace marketplace::engine
