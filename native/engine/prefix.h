// Prefixes of addresses, as peers are counted by: the first bits of an IP address.
//
// An IPv4 address within IPv6 (::ffff:192.0.2.1) is the IPv4 address. The peers of a Unix socket
// have no address: all of them have one prefix.
#pragma once

#include <cstdint>

#include "address.h"

namespace marketplace::engine {

// In IPv6's form, most significant half first; bits beyond the prefix are 0.
struct Prefix {
  uint64_t high = 0;
  uint64_t low = 0;

  bool operator==(const Prefix&) const = default;
};

// How many bits of an address count.
struct PrefixLengths {
  uint8_t v4 = 32;
  uint8_t v6 = 64;

  bool operator==(const PrefixLengths&) const = default;
};

// Some prefix of any length, in bits of IPv6's form.
struct PrefixRange {
  Prefix prefix;
  uint32_t bits = 0;
};

Prefix prefix_of(const Address& address, const PrefixLengths& lengths);
// The first so many bits, from 0 to 128.
Prefix cut(const Prefix& whole, uint32_t bits);
// The whole address.
Prefix whole_of(const Address& address);

// A range of the host's: where IPv4's bits are counted from the start of the IPv4 address.
PrefixRange range_of(bool is_v4, uint32_t bits, const int32_t words[4]);
bool contains(const PrefixRange& range, const Address& address);

}  // namespace marketplace::engine
