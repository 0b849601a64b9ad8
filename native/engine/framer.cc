// The search for the end of a frame; see framer.h.
#include "framer.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace marketplace::engine {

namespace {

constexpr uint64_t varint_max = 5;
constexpr uint8_t lf = 10;
constexpr uint8_t cr = 13;
// So many bytes are searched for LF, and then for CR: who sends one of them only makes no byte be
// looked at more often for that.
constexpr size_t line_window = 128;

// Where the byte is, or `length`.
size_t find(const uint8_t* data, size_t length, uint8_t byte) {
  const void* found = std::memchr(data, byte, length);
  return found == nullptr ? length : static_cast<size_t>(static_cast<const uint8_t*>(found) - data);
}

// Where the first LF or CR is, or `length`.
size_t find_line_end(const uint8_t* data, size_t length) {
  for (size_t at = 0; at < length; at += line_window) {
    const size_t window = std::min(line_window, length - at);
    const size_t first = find(data + at, find(data + at, window, lf), cr);
    // No CR before it: it is where the LF is, or where the window ends.
    if (first < window) return at + first;
  }
  return length;
}

}  // namespace

bool Framer::takes(const FrameOrder& order) {
  switch (order.kind) {
    case FrameKind::bytes:
      return false;
    case FrameKind::length:
      return order.size >= 1 && order.size <= 8 && order.offset <= 255;
    case FrameKind::delimiter:
      return order.size >= 1 && order.size <= delimiter_max && order.delimiter != nullptr &&
             order.matched < order.size;
    case FrameKind::fixed:
      return order.size >= 1;
    case FrameKind::varint:
    case FrameKind::lines:
      return true;
  }
  return false;
}

Framer::Framer(const FrameOrder& order)
    : kind_(order.kind),
      little_(order.little),
      size_(order.size),
      offset_(order.offset),
      adjust_(order.adjust),
      longest_(order.longest),
      seen_(order.seen),
      whole_(order.kind == FrameKind::fixed ? order.size : order.whole),
      matched_(order.matched),
      after_cr_(order.after_cr) {
  assert(takes(order));
  if (kind_ != FrameKind::delimiter) return;
  delimiter_ = std::make_unique<Delimiter>();
  auto& [bytes, borders] = *delimiter_;
  std::memcpy(bytes.data(), order.delimiter, size_);
  borders[0] = 0;
  for (size_t i = 1, matched = 0; i < size_; i++) {
    while (matched > 0 && bytes[i] != bytes[matched]) matched = borders[matched - 1];
    if (bytes[i] == bytes[matched]) matched++;
    borders[i] = static_cast<uint8_t>(matched);
  }
}

Framer::Found Framer::scan(const uint8_t* data, size_t length) {
  assert(length > 0);
  switch (kind_) {
    case FrameKind::length:
      return read_length(data, length);
    case FrameKind::varint:
      return read_varint(data, length);
    case FrameKind::delimiter:
      return read_delimited(data, length);
    case FrameKind::lines:
      return read_line(data, length);
    case FrameKind::fixed:
    case FrameKind::bytes:
      break;
  }
  return count(length);
}

Framer::Found Framer::partial(size_t length) {
  seen_ += length;
  return {Outcome::partial, length};
}

Framer::Found Framer::whole(size_t length) {
  seen_ = 0;
  whole_ = kind_ == FrameKind::fixed ? size_ : 0;
  field_ = 0;
  matched_ = 0;
  leading_ = 0;
  return {Outcome::whole, length};
}

Framer::Found Framer::count(size_t length) {
  assert(whole_ >= seen_);
  const uint64_t left = whole_ - seen_;
  return left > length ? partial(length) : whole(static_cast<size_t>(left));
}

bool Framer::take_field(uint64_t header, int64_t adjust) {
  // What is beyond is too long in any case.
  if (field_ > UINT32_MAX) return false;
  const int64_t all = static_cast<int64_t>(field_) + adjust;
  const int64_t rest = all - static_cast<int64_t>(header);
  if (rest < 0 || rest > static_cast<int64_t>(longest_)) return false;
  whole_ = static_cast<uint64_t>(all);
  return true;
}

Framer::Found Framer::read_length(const uint8_t* data, size_t length) {
  const uint64_t header = uint64_t{offset_} + size_;
  for (size_t i = 0; whole_ == 0; i++) {
    if (i == length) return partial(length);
    const uint64_t at = seen_ + i;
    if (at < offset_) continue;
    const uint64_t place = at - offset_;
    if (little_) {
      field_ |= uint64_t{data[i]} << (8 * place);
    } else {
      field_ = field_ << 8 | data[i];
    }
    if (place + 1 == size_ && !take_field(header, adjust_)) return {Outcome::unusual, 0};
  }
  return count(length);
}

Framer::Found Framer::read_varint(const uint8_t* data, size_t length) {
  for (size_t i = 0; whole_ == 0; i++) {
    if (i == length) return partial(length);
    const uint64_t place = seen_ + i;
    if (place == varint_max) return {Outcome::unusual, 0};
    field_ |= uint64_t{data[i] & 0x7fu} << (7 * place);
    if (data[i] >= 0x80) continue;
    const uint64_t header = place + 1;
    if (!take_field(header, static_cast<int64_t>(header))) return {Outcome::unusual, 0};
  }
  return count(length);
}

Framer::Found Framer::read_delimited(const uint8_t* data, size_t length) {
  const auto& [bytes, borders] = *delimiter_;
  for (size_t i = 0; i < length; i++) {
    if (matched_ == 0 && data[i] != bytes[0]) {
      i += find(data + i, length - i, bytes[0]);
      if (i == length) break;
    }
    while (matched_ > 0 && data[i] != bytes[matched_]) matched_ = borders[matched_ - 1];
    if (data[i] != bytes[matched_]) continue;
    if (++matched_ < size_) continue;
    const uint64_t content = seen_ + i + 1 - size_;
    return content > longest_ ? Found{Outcome::unusual, 0} : whole(i + 1);
  }
  // What may be the begin of the delimiter does not count.
  if (seen_ + length - matched_ > longest_) return {Outcome::unusual, 0};
  return partial(length);
}

Framer::Found Framer::read_line(const uint8_t* data, size_t length) {
  size_t from = 0;
  if (seen_ == 0 && after_cr_ && data[0] == lf) {
    from = 1;
    leading_ = 1;
  }
  after_cr_ = false;
  const size_t end = from + find_line_end(data + from, length - from);
  if (seen_ + end - leading_ > longest_) return {Outcome::unusual, 0};
  if (end == length) return partial(length);
  if (data[end] == lf) return whole(end + 1);
  if (end + 1 == length) {
    after_cr_ = true;
    return whole(length);
  }
  return whole(data[end + 1] == lf ? end + 2 : end + 1);
}

}  // namespace marketplace::engine
