// How a socket is best read, by the sizes of what it received lately: big pieces are worth a system
// call that puts them where they are to be; small ones are worth a copy, if that saves the call.
//
// Invariant: the score changes by one at a time, so that a mixture changes nothing in either way.
#pragma once

#include <cstddef>

#include "backend.h"

namespace marketplace::engine {

// From here on a copy costs as much as a system call.
constexpr size_t big_receive = 4 * 1024;
constexpr size_t small_receive = 1024;
constexpr uint8_t bulk_score_max = 4;

// Says that so much was received at once. Returns whether the socket should be read in the other
// way from now on.
inline bool note_receive(Socket& socket, size_t length) {
  uint8_t& score = socket.bulk_score;
  if (length >= big_receive && score < bulk_score_max) score++;
  if (length < small_receive && score > 0) score--;
  return score == (socket.bulk ? 0 : bulk_score_max);
}

}  // namespace marketplace::engine
