// The system calls on one socket for datagrams. Every function returns negative errno on failure,
// and leaves policy to its caller.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "address.h"
#include "descriptor.h"

namespace marketplace::engine {

// -1 leaves a setting as the system has it.
struct UdpSocketOptions {
  int v6_only = -1;  // an IPv6 socket takes no IPv4; otherwise it takes both
  int reuse_address = -1;
  int broadcast = -1;
  int ttl = -1;
  int multicast_ttl = -1;
  int multicast_loopback = -1;
  int receive_buffer = -1;
  int send_buffer = -1;
  // Longer datagrams are reported and dropped.
  uint32_t datagram_max = 65507;
  // Bytes that may wait for the kernel to take them.
  uint32_t queue_max = 1024 * 1024;
};

// A bound, non-blocking, close-on-exec socket with these options.
int open_udp_socket(const Address& address, const UdpSocketOptions& options, Descriptor& out);

// The address in these words, as Address::port_and_family and Address::words give them.
Address udp_address(int32_t port_and_family, const int32_t* words, uint32_t zone);

// The interface is an IPv4 address for IPv4 groups, `::%name` for IPv6 ones, or empty.
int udp_membership(int socket, const Address& group, const char* interface, bool join);
int udp_multicast_interface(int socket, const char* interface);

// Many datagrams of one system call: what it takes to receive them, and where they are then.
class DatagramBatch {
 public:
  static constexpr uint32_t count_max = 32;
  // No datagram is longer.
  static constexpr uint32_t length_max = 64 * 1024;

  // False without memory for it.
  bool open();
  // How many came, or negative errno. They stay where they are until the next call.
  int receive(int socket);
  // A datagram's own length, and its bytes, up to `length_max`.
  uint32_t length(uint32_t index) const { return messages_[index].msg_len; }
  const uint8_t* data(uint32_t index) const { return &memory_[index * stride]; }
  // The sender; of an IPv4 one its IPv4 address, also on a socket for both families.
  Address sender(uint32_t index) const;

 private:
  // Not a power of two: what arrives would lie in the same few lines of the cache.
  static constexpr size_t stride = length_max + 192;

  // Pages that nothing is received into cost nothing.
  std::unique_ptr<uint8_t[]> memory_;
  std::array<mmsghdr, count_max> messages_{};
  std::array<iovec, count_max> pieces_{};
  std::array<Address, count_max> senders_{};
};

}  // namespace marketplace::engine
