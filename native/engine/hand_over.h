// How records leave an engine: copied into the host's memory, the oldest first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace marketplace::engine {

// Moves at most `most` of them to `to`, which may be null if there is none to move. How many it
// were.
template <typename Record>
uint32_t hand_over(std::vector<Record>& records, void* to, uint32_t most) {
  const uint32_t count = std::min(static_cast<uint32_t>(records.size()), most);
  if (count == 0) return 0;
  std::memcpy(to, records.data(), count * sizeof(Record));
  records.erase(records.begin(), records.begin() + static_cast<std::ptrdiff_t>(count));
  return count;
}

}  // namespace marketplace::engine
