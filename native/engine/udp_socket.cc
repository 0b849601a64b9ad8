// Opening and configuring datagram sockets; see udp_socket.h.
#include "udp_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace marketplace::engine {

namespace {

template <typename Value>
int set_option(int socket, int level, int option, const Value& value) {
  return setsockopt(socket, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

struct Setting {
  int level;
  int option;
  int value;
};

int configure(int socket, bool is_v6, const UdpSocketOptions& options) {
  // A socket that takes both families has the settings of both.
  const int v6_only = options.v6_only == 1 ? 1 : 0;
  const bool has_v4 = !is_v6 || v6_only == 0;
  const Setting settings[] = {
      // Explicitly, because the default depends on a sysctl.
      {IPPROTO_IPV6, IPV6_V6ONLY, is_v6 ? v6_only : -1},
      {SOL_SOCKET, SO_REUSEADDR, options.reuse_address},
      {SOL_SOCKET, SO_BROADCAST, options.broadcast},
      {SOL_SOCKET, SO_RCVBUF, options.receive_buffer},
      {SOL_SOCKET, SO_SNDBUF, options.send_buffer},
      {IPPROTO_IP, IP_TTL, has_v4 ? options.ttl : -1},
      {IPPROTO_IP, IP_MULTICAST_TTL, has_v4 ? options.multicast_ttl : -1},
      {IPPROTO_IP, IP_MULTICAST_LOOP, has_v4 ? options.multicast_loopback : -1},
      {IPPROTO_IPV6, IPV6_UNICAST_HOPS, is_v6 ? options.ttl : -1},
      {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, is_v6 ? options.multicast_ttl : -1},
      {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, is_v6 ? options.multicast_loopback : -1},
  };
  for (const Setting& setting : settings) {
    if (setting.value < 0) continue;
    const int result = set_option(socket, setting.level, setting.option, setting.value);
    if (result < 0) return result;
  }
  return 0;
}

}  // namespace

int open_udp_socket(const Address& address, const UdpSocketOptions& options, Descriptor& out) {
  const int family = address.data()->sa_family;
  out.reset(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  if (!out.valid()) return -errno;
  const int result = configure(out.get(), address.is_v6(), options);
  if (result < 0) return result;
  return ::bind(out.get(), address.data(), address.length) == 0 ? 0 : -errno;
}

Address udp_address(int32_t port_and_family, const int32_t* words, uint32_t zone) {
  Address result;
  const in_port_t port = htons(static_cast<uint16_t>(port_and_family & 0xffff));
  if (port_and_family >> 16 == 6) {
    result.storage.v6.sin6_family = AF_INET6;
    result.storage.v6.sin6_port = port;
    result.storage.v6.sin6_scope_id = zone;
    for (int i = 0; i < 4; i++) {
      const uint32_t word = htonl(static_cast<uint32_t>(words[i]));
      std::memcpy(result.storage.v6.sin6_addr.s6_addr + 4 * i, &word, sizeof(word));
    }
    result.length = sizeof(sockaddr_in6);
  } else {
    result.storage.v4.sin_family = AF_INET;
    result.storage.v4.sin_port = port;
    result.storage.v4.sin_addr.s_addr = htonl(static_cast<uint32_t>(words[0]));
    result.length = sizeof(sockaddr_in);
  }
  return result;
}

int udp_membership(int socket, const Address& group, const char* interface, bool join) {
  Address local;
  const bool chosen = interface[0] != '\0';
  if (chosen) {
    const int result = Address::parse(interface, 0, local);
    if (result < 0) return result;
    if (local.is_v6() != group.is_v6()) return -EINVAL;
  }
  if (group.is_v6()) {
    ipv6_mreq request{};
    request.ipv6mr_multiaddr = group.storage.v6.sin6_addr;
    request.ipv6mr_interface =
        chosen ? local.storage.v6.sin6_scope_id : group.storage.v6.sin6_scope_id;
    const int option = join ? IPV6_ADD_MEMBERSHIP : IPV6_DROP_MEMBERSHIP;
    return set_option(socket, IPPROTO_IPV6, option, request);
  }
  ip_mreq request{};
  request.imr_multiaddr = group.storage.v4.sin_addr;
  if (chosen) request.imr_interface = local.storage.v4.sin_addr;
  return set_option(socket, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, request);
}

int udp_multicast_interface(int socket, const char* interface) {
  Address local;
  const int result = Address::parse(interface, 0, local);
  if (result < 0) return result;
  if (!local.is_v6()) {
    return set_option(socket, IPPROTO_IP, IP_MULTICAST_IF, local.storage.v4.sin_addr);
  }
  const int index = static_cast<int>(local.storage.v6.sin6_scope_id);
  return set_option(socket, IPPROTO_IPV6, IPV6_MULTICAST_IF, index);
}

bool DatagramBatch::open() {
  memory_.reset(new (std::nothrow) uint8_t[count_max * stride]);
  if (!memory_) return false;
  for (uint32_t i = 0; i < count_max; i++) {
    pieces_[i] = iovec{memory_.get() + i * stride, length_max};
    msghdr& header = messages_[i].msg_hdr;
    header.msg_name = senders_[i].data();
    header.msg_namelen = sizeof(senders_[i].storage);
    header.msg_iov = &pieces_[i];
    header.msg_iovlen = 1;
  }
  return true;
}

int DatagramBatch::receive(int socket) {
  int count = 0;
  do {
    // With MSG_TRUNC a length is the datagram's own, whatever there was room for.
    count = ::recvmmsg(socket, messages_.data(), count_max, MSG_TRUNC, nullptr);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return -errno;
  for (uint32_t i = 0; i < static_cast<uint32_t>(count); i++) {
    msghdr& header = messages_[i].msg_hdr;
    senders_[i].length = std::exchange(header.msg_namelen, sizeof(senders_[i].storage));
  }
  return count;
}

Address DatagramBatch::sender(uint32_t index) const {
  const Address& from = senders_[index];
  if (!from.is_v6() || !IN6_IS_ADDR_V4MAPPED(&from.storage.v6.sin6_addr)) return from;
  Address result;
  result.storage.v4.sin_family = AF_INET;
  result.storage.v4.sin_port = from.storage.v6.sin6_port;
  std::memcpy(&result.storage.v4.sin_addr, from.storage.v6.sin6_addr.s6_addr + 12, 4);
  result.length = sizeof(sockaddr_in);
  return result;
}

}  // namespace marketplace::engine
