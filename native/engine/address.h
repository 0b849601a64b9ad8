// A socket address. IPv4 or IPv6: parsed from a literal, read back as words; never resolves names.
// Unix: a path, or a name of Linux's abstract kind, which begins with a zero byte.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdint>

namespace marketplace::engine {

struct Address {
  // The largest comes first: {} zeroes the first member, and only GCC the rest, too.
  union {
    sockaddr_un un;
    sockaddr base;
    sockaddr_in v4;
    sockaddr_in6 v6;
  } storage{};
  socklen_t length = sizeof(storage);

  // Reads "127.0.0.1", "::1" or "fe80::1%eth0". Returns 0, or -EINVAL when it is not a literal,
  // or -ENODEV when the zone names no interface.
  static int parse(const char* text, uint16_t port, Address& out);

  // Returns 0, or -EINVAL for an empty path or one with a zero byte inside, or -ENAMETOOLONG.
  static int parse_unix(const char* path, size_t length, Address& out);

  sockaddr* data() { return &storage.base; }
  const sockaddr* data() const { return &storage.base; }
  bool is_v6() const { return storage.base.sa_family == AF_INET6; }
  bool is_unix() const { return storage.base.sa_family == AF_UNIX; }
  // The path of one that has a file; otherwise nullptr.
  const char* file() const;
  uint16_t port() const;

  // Port in the low half, 4 or 6 in the high half; 1 for a Unix address, which has no words.
  int32_t port_and_family() const;
  // The address itself, most significant word first; an IPv4 address is the first word.
  void words(int32_t out[4]) const;
  // Both with the zone, if there is one, in the five words that a record has for them: in
  // the upper bits of the first; if it does not fit, these are all set, and it is the third, which
  // link-local addresses leave zero (RFC 4291, 2.5.6).
  void pack(int32_t out[5]) const;
};

}  // namespace marketplace::engine
