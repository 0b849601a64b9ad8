// The engine for datagrams: non-blocking UDP for one thread, many datagrams per system call.
//
// How it is used: the host polls `descriptor()`; when that is readable it calls `turn()`, reads
// `records`, clears them, gives its commands, and calls `flush()`, always: only then is sent, and
// closed, what was decided in between.
//
// Invariants: functions that can fail return negative errno; ids that are no longer valid are
// ignored, and none is given to another socket before the host has read `closed`; every datagram
// given to `send` is handed to the kernel, in order, or reported; `closed` is the last record of a
// socket, exactly once.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "table.h"
#include "udp_pool.h"
#include "udp_socket.h"

namespace marketplace::engine {

enum class UdpEvent : int32_t {
  datagram = 1,        // slab, offset, length, sender
  truncated = 2,       // its length was more than `datagram_max`, and it is lost: length, sender
  send_failed = 3,     // errno, receiver
  receive_failed = 4,  // errno
  closed = 5,
  // No more will be received into this slab: the host may give up its reference.
  slab_retired = 6,
  // Receiving stopped for lack of slabs; it goes on when the host has added some.
  slabs_short = 7,
};

// Twelve 32-bit words, so that a batch can be handed to another language without a call per event.
struct UdpRecord {
  UdpEvent event;
  int32_t id;  // of the socket, or the slab
  int32_t a;   // slab or negative errno
  int32_t offset;
  int32_t length;
  int32_t port_and_family;
  int32_t words[4];
  int32_t zone;
  int32_t unused;
};
static_assert(sizeof(UdpRecord) == 12 * sizeof(int32_t), "a record has no padding");

struct UdpCounters {
  uint64_t datagrams_out = 0;
  uint64_t bytes_out = 0;
};

class UdpEngine {
 public:
  // glibc's flags are an int, musl's unsigned.
  using SendCall = decltype(&::sendmmsg);
  using ControlCall = decltype(&::epoll_ctl);

  struct Options {
    // A turn stops receiving when there are so many records.
    uint32_t records_max = 2048;
    // Tests put theirs here, as a loopback never says that it is full, nor a kernel that it is out
    // of memory.
    SendCall send = ::sendmmsg;
    ControlCall control = ::epoll_ctl;
  };
  // Datagrams per system call.
  static constexpr uint32_t batch_max = 32;

  explicit UdpEngine(const Options& options) : options_(options) {}
  UdpEngine(const UdpEngine&) = delete;
  UdpEngine& operator=(const UdpEngine&) = delete;

  int open();
  int descriptor() const { return epoll_.get(); }

  // The new id (positive) or negative errno.
  int32_t bind(const Address& address, const UdpSocketOptions& options);
  int address(uint32_t id, Address& out);
  int membership(uint32_t id, const Address& group, const char* interface, bool join);
  int multicast_interface(uint32_t id, const char* interface);

  // The bytes have to stay as they are until `flush` returns. An IPv6 socket that takes IPv4 takes
  // IPv4 addresses here, too.
  void send(uint32_t id, const uint8_t* data, size_t length, const Address& to);
  // Sends what was given before; what the kernel does not take at once fails with ECANCELED.
  void close(uint32_t id);
  void flush();

  // Reports what has come, within a turn's limits. Never waits. 0 or negative errno.
  int turn();

  UdpPool& pool() { return pool_; }
  // Gives up the slab that is being filled; reported as retired.
  void retire_slab();
  std::vector<UdpRecord>& records() { return records_; }
  const UdpCounters& counters() const { return counters_; }
  uint32_t socket_count() const { return sockets_.count(); }

 private:
  static constexpr int events_max = 256;
  // Limits per socket and turn, so that one that is always ready leaves time for the others.
  static constexpr int receives_max = 4;
  static constexpr int sends_max = 8;

  struct Outgoing {
    const uint8_t* data;
    size_t length;
    const Address* to;
  };
  struct Pending {
    const uint8_t* data;
    size_t length;
    Address to;
  };
  // Where the datagrams of one `recvmmsg` go: so many slots of this size, this far apart.
  struct Slots {
    uint32_t count;
    uint32_t size;
    uint32_t stride;
    Memory memory;
  };

  void push(const UdpRecord& record);
  void report(UdpEvent event, uint32_t id, int32_t a = 0);
  void report(UdpEvent event, uint32_t id, const Address& address, int32_t a, uint32_t offset,
              uint32_t length);
  bool room_for_records() const;

  // Both return whether the socket was served: false when there was no memory for it.
  bool dispatch(const epoll_event& event);
  bool receive(UdpSocket& socket);
  Slots make_slots(const UdpSocket& socket);
  void prepare(const UdpSocket& socket, const Slots& slots);
  void take(UdpSocket& socket, const Slots& slots, uint32_t count);
  Memory put_together(const Slots& slots, uint32_t index, uint32_t length,
                      std::vector<uint32_t>& retired);
  void learn(UdpSocket& socket, uint32_t length);

  void touch(UdpSocket& socket);
  void flush_socket(UdpSocket& socket);
  // Both return how many are done with: sent, or reported as failed. The kernel took no more.
  size_t send_pending(UdpSocket& socket);
  size_t send_queued(UdpSocket& socket);
  template <typename At>
  size_t transmit(UdpSocket& socket, size_t count, At at);
  void send_failed(const UdpSocket& socket, const Address& to, int error);
  void enqueue(UdpSocket& socket, const Pending& datagram);
  void fail_queued(UdpSocket& socket, int error);
  void arm(UdpSocket& socket);
  void finish(UdpSocket& socket);

  Options options_;
  Descriptor epoll_;
  Table<UdpSocket> sockets_;
  UdpPool pool_;
  bool slabs_short_ = false;
  std::vector<UdpRecord> records_;
  // How many there ever were.
  uint64_t reported_ = 0;
  UdpCounters counters_;
  std::vector<Pending> pending_;
  std::vector<Key> dirty_;

  // What a turn had no room for comes first in the next.
  std::array<epoll_event, events_max> ready_{};
  int ready_next_ = 0;
  int ready_count_ = 0;

  // For one system call.
  std::array<mmsghdr, batch_max> messages_{};
  std::array<iovec, size_t{2} * batch_max> pieces_{};
  std::array<Address, batch_max> addresses_{};
  // What does not fit into its slot ends here.
  std::unique_ptr<uint8_t[]> overflow_;
};

}  // namespace marketplace::engine
