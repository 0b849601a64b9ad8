// See prefix.h.
#include "prefix.h"

#include <cstring>

namespace marketplace::engine {

namespace {

constexpr uint64_t v4_within_v6 = uint64_t{0xffff} << 32;
constexpr uint32_t v4_begin = 96;

uint64_t joined(int32_t high, int32_t low) {
  return uint64_t{static_cast<uint32_t>(high)} << 32 | static_cast<uint32_t>(low);
}

uint64_t first_bits(uint64_t word, uint32_t bits) {
  if (bits == 0) return 0;
  return bits >= 64 ? word : word & ~(UINT64_MAX >> bits);
}

bool is_v4(const Prefix& whole) {
  return whole.high == 0 && whole.low >> 32 == 0xffff;
}

}  // namespace

Prefix cut(const Prefix& whole, uint32_t bits) {
  return Prefix{first_bits(whole.high, bits), bits <= 64 ? 0 : first_bits(whole.low, bits - 64)};
}

Prefix whole_of(const Address& address) {
  // Nothing that an IP address could be.
  if (address.is_unix()) return Prefix{0, 0};
  int32_t words[4];
  address.words(words);
  if (!address.is_v6()) return Prefix{0, v4_within_v6 | static_cast<uint32_t>(words[0])};
  return Prefix{joined(words[0], words[1]), joined(words[2], words[3])};
}

Prefix prefix_of(const Address& address, const PrefixLengths& lengths) {
  const Prefix whole = whole_of(address);
  return cut(whole, is_v4(whole) ? v4_begin + lengths.v4 : lengths.v6);
}

PrefixRange range_of(bool of_v4, uint32_t bits, const int32_t words[4]) {
  const Prefix whole = of_v4 ? Prefix{0, v4_within_v6 | static_cast<uint32_t>(words[0])}
                             : Prefix{joined(words[0], words[1]), joined(words[2], words[3])};
  const uint32_t all = of_v4 ? v4_begin + bits : bits;
  return PrefixRange{cut(whole, all), all};
}

bool contains(const PrefixRange& range, const Address& address) {
  return !address.is_unix() && cut(whole_of(address), range.bits) == range.prefix;
}

}  // namespace marketplace::engine
