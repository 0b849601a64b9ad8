// The datagram engine's life and bookkeeping: ids, records, the turn. Receiving and sending have
// files of their own.
#include "udp.h"

#include <cerrno>
#include <new>
#include <utility>

#include "socket.h"

namespace marketplace::engine {

int UdpEngine::open() {
  overflow_.reset(new (std::nothrow) uint8_t[size_t{batch_max} * UdpPool::place_size]);
  if (!overflow_) return -ENOMEM;
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  return epoll_.valid() ? 0 : -errno;
}

int32_t UdpEngine::bind(const Address& address, const UdpSocketOptions& options) {
  Descriptor descriptor;
  const int result = open_udp_socket(address, options, descriptor);
  if (result < 0) return result;
  UdpSocket* socket = sockets_.insert();
  if (socket == nullptr) return -ENOMEM;
  socket->descriptor = std::move(descriptor);
  socket->is_v6 = address.is_v6();
  socket->options = options;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = socket->key;
  if (options_.control(epoll_.get(), EPOLL_CTL_ADD, socket->descriptor.get(), &event) != 0) {
    const int error = -errno;
    sockets_.remove(*socket);
    return error;
  }
  return static_cast<int32_t>(socket->id);
}

int UdpEngine::address(uint32_t id, Address& out) {
  UdpSocket* socket = sockets_.find(id);
  return socket == nullptr ? -EBADF : local_address(socket->descriptor.get(), out);
}

int UdpEngine::membership(uint32_t id, const Address& group, const char* interface, bool join) {
  UdpSocket* socket = sockets_.find(id);
  return socket == nullptr ? -EBADF
                           : udp_membership(socket->descriptor.get(), group, interface, join);
}

int UdpEngine::multicast_interface(uint32_t id, const char* interface) {
  UdpSocket* socket = sockets_.find(id);
  return socket == nullptr ? -EBADF : udp_multicast_interface(socket->descriptor.get(), interface);
}

int UdpEngine::turn() {
  slabs_short_ = false;
  // What the host has read it took from the front.
  sockets_.recycle(reported_ - records_.size());
  if (ready_next_ == ready_count_) {
    ready_next_ = 0;
    ready_count_ = 0;
    const int count = epoll_wait(epoll_.get(), ready_.data(), events_max, 0);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    ready_count_ = count;
  }
  while (ready_next_ < ready_count_ && room_for_records()) {
    // One that found no memory is the first of the next turn; one that had some is not, or it
    // could use up all of it again.
    if (dispatch(ready_[static_cast<size_t>(ready_next_)])) ready_next_++;
  }
  return 0;
}

bool UdpEngine::dispatch(const epoll_event& event) {
  // It may have been closed after the kernel made this list.
  UdpSocket* socket = sockets_.find_key(event.data.u64);
  if (socket == nullptr) return true;
  if ((event.events & EPOLLOUT) != 0) {
    send_queued(*socket);
    arm(*socket);
  }
  // Also for errors: receiving is what makes the kernel forget them.
  return (event.events & ~uint32_t{EPOLLOUT}) == 0 || receive(*socket);
}

bool UdpEngine::room_for_records() const {
  return !slabs_short_ && records_.size() < options_.records_max;
}

void UdpEngine::push(const UdpRecord& record) {
  records_.push_back(record);
  reported_++;
}

void UdpEngine::report(UdpEvent event, uint32_t id, int32_t a) {
  push(UdpRecord{event, static_cast<int32_t>(id), a, 0, 0, 0, {0, 0, 0, 0}, 0, 0});
}

void UdpEngine::report(UdpEvent event, uint32_t id, const Address& address, int32_t a,
                       uint32_t offset, uint32_t length) {
  UdpRecord record{event,
                   static_cast<int32_t>(id),
                   a,
                   static_cast<int32_t>(offset),
                   static_cast<int32_t>(length),
                   address.port_and_family(),
                   {},
                   0,
                   0};
  address.words(record.words);
  if (address.is_v6()) {
    // An IPv4 peer, as a socket for both families sees it.
    if (IN6_IS_ADDR_V4MAPPED(&address.storage.v6.sin6_addr)) {
      record.port_and_family = static_cast<int32_t>(address.port()) | 4 << 16;
      record.words[0] = record.words[3];
      record.words[1] = record.words[2] = record.words[3] = 0;
    } else {
      record.zone = static_cast<int32_t>(address.storage.v6.sin6_scope_id);
    }
  }
  push(record);
}

}  // namespace marketplace::engine
