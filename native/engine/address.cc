// Parsing and unpacking of socket addresses; see address.h.
#include "address.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "layout.h"

namespace marketplace::engine {

namespace {

// The zone is an interface's name or its number.
int parse_zone(const char* text, uint32_t& out) {
  out = if_nametoindex(text);
  if (out != 0) return 0;
  char* end = nullptr;
  const unsigned long number = std::strtoul(text, &end, 10);
  if (end == text || *end != '\0' || number == 0 || number > UINT32_MAX) return -ENODEV;
  out = static_cast<uint32_t>(number);
  return 0;
}

}  // namespace

int Address::parse(const char* text, uint16_t port, Address& out) {
  out = Address{};
  if (inet_pton(AF_INET, text, &out.storage.v4.sin_addr) == 1) {
    out.storage.v4.sin_family = AF_INET;
    out.storage.v4.sin_port = htons(port);
    out.length = sizeof(sockaddr_in);
    return 0;
  }
  out = Address{};
  char literal[INET6_ADDRSTRLEN];
  const char* zone = std::strchr(text, '%');
  const size_t size = zone == nullptr ? std::strlen(text) : static_cast<size_t>(zone - text);
  if (size >= sizeof(literal)) return -EINVAL;
  std::memcpy(literal, text, size);
  literal[size] = '\0';
  if (inet_pton(AF_INET6, literal, &out.storage.v6.sin6_addr) != 1) return -EINVAL;
  if (zone != nullptr) {
    const int result = parse_zone(zone + 1, out.storage.v6.sin6_scope_id);
    if (result < 0) return result;
  }
  out.storage.v6.sin6_family = AF_INET6;
  out.storage.v6.sin6_port = htons(port);
  out.length = sizeof(sockaddr_in6);
  return 0;
}

int Address::parse_unix(const char* path, size_t length, Address& out) {
  out = Address{};
  sockaddr_un& un = out.storage.un;
  un = sockaddr_un{};
  if (length == 0) return -EINVAL;
  // Linux can do without the final zero byte, but not everybody who reads the name can.
  if (length >= sizeof(un.sun_path)) return -ENAMETOOLONG;
  const bool abstract = path[0] == '\0';
  if (std::memchr(path + 1, '\0', length - 1) != nullptr || (abstract && length == 1))
    return -EINVAL;
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, path, length);
  // The zero byte that ends a path counts; an abstract name has none.
  out.length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + (abstract ? 0 : 1));
  return 0;
}

const char* Address::file() const {
  const bool named = is_unix() && length > offsetof(sockaddr_un, sun_path);
  return named && storage.un.sun_path[0] != '\0' ? storage.un.sun_path : nullptr;
}

uint16_t Address::port() const {
  if (is_unix()) return 0;
  return ntohs(is_v6() ? storage.v6.sin6_port : storage.v4.sin_port);
}

int32_t Address::port_and_family() const {
  const Family family = is_unix() ? Family::unix : is_v6() ? Family::ipv6 : Family::ipv4;
  return static_cast<int32_t>(port()) | static_cast<int32_t>(family) << 16;
}

void Address::words(int32_t out[4]) const {
  uint32_t raw[4] = {0, 0, 0, 0};
  if (is_v6()) {
    std::memcpy(raw, &storage.v6.sin6_addr, sizeof(raw));
  } else if (!is_unix()) {
    std::memcpy(raw, &storage.v4.sin_addr, sizeof(uint32_t));
  }
  for (int i = 0; i < 4; i++) out[i] = static_cast<int32_t>(ntohl(raw[i]));
}

void Address::pack(int32_t out[5]) const {
  out[0] = port_and_family();
  words(out + 1);
  const uint32_t zone = is_v6() ? storage.v6.sin6_scope_id : 0;
  if (zone == 0) return;
  if (zone >= zone_elsewhere) {
    // Others have no room for it.
    if (!IN6_IS_ADDR_LINKLOCAL(&storage.v6.sin6_addr)) return;
    out[2] = static_cast<int32_t>(zone);
  }
  out[0] |= static_cast<int32_t>(zone < zone_elsewhere ? zone : zone_elsewhere) << zone_shift;
}

}  // namespace marketplace::engine
