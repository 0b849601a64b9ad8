// What the engine writes on its requests to io_uring, to know them again in their completions: the
// kind, and the key of a socket or the number of a send.
#pragma once

#include "backend.h"

namespace marketplace::engine {

enum class Request : uint8_t { none, watch, receive, send, host };

constexpr uint32_t request_shift = 56;
static_assert(key_bits <= request_shift, "a key fits beside the kind");

constexpr uint64_t tag_of(Request request, uint64_t subject) {
  return static_cast<uint64_t>(request) << request_shift | subject;
}

inline uint64_t tag_of(const Socket& socket) {
  return tag_of(Request::receive, socket.key);
}

constexpr Request request_of(uint64_t tag) {
  return static_cast<Request>(tag >> request_shift);
}

constexpr uint64_t subject_of(uint64_t tag) {
  return tag & ((uint64_t{1} << request_shift) - 1);
}

}  // namespace marketplace::engine
