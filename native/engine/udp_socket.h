// One datagram socket: its state, and the system calls that are made once in its life. Functions
// return negative errno on failure and leave policy to their caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "address.h"
#include "descriptor.h"
#include "table.h"

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

// A datagram that the kernel did not take yet, in memory of its own.
struct UdpQueued {
  std::unique_ptr<uint8_t[]> data;
  size_t length;
  Address to;
};

struct UdpSocket {
  // Datagrams after which the size of the slots is looked at again.
  static constexpr uint32_t sample = 64;

  Descriptor descriptor;
  Key key = 0;
  uint32_t id = 0;
  bool is_v6 = false;
  bool armed_output = false;
  bool dirty = false;    // is in the list of what `flush` looks at
  bool closing = false;  // `flush` will close it
  UdpSocketOptions options;
  // What a datagram is given room for at first, and the longest of the last ones.
  uint32_t slot = 2048;
  uint32_t longest = 0;
  uint32_t sampled = 0;
  // This turn's datagrams, by their index in the engine's list.
  std::vector<uint32_t> pending;
  std::deque<UdpQueued> queue;
  size_t queued_bytes = 0;
};

// A bound, non-blocking, close-on-exec socket with these options.
int open_udp_socket(const Address& address, const UdpSocketOptions& options, Descriptor& out);

// The address in these words, as Address::port_and_family and Address::words give them.
Address udp_address(int32_t port_and_family, const int32_t* words, uint32_t zone);

// The interface is an IPv4 address for IPv4 groups, `::%name` for IPv6 ones, or empty.
int udp_membership(int socket, const Address& group, const char* interface, bool join);
int udp_multicast_interface(int socket, const char* interface);

}  // namespace marketplace::engine
