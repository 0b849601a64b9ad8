// Datagrams: many per system call. What is received is put into slabs, each by its length; what is
// sent goes out in as few calls as there are sockets, the rest from a bounded queue, then close.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "engine.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

// System calls per socket and turn, so that one that is always ready leaves time for the others.
constexpr int receives_max = 4;
constexpr size_t sends_max = 8;
// What a queued datagram costs besides its bytes, so that empty ones are bounded, too.
constexpr size_t overhead = 64;

// The address as an IPv6 socket for both families wants it.
Address mapped(const Address& from) {
  Address to;
  to.storage.v6.sin6_family = AF_INET6;
  to.storage.v6.sin6_port = from.storage.v4.sin_port;
  uint8_t* bytes = to.storage.v6.sin6_addr.s6_addr;
  bytes[10] = bytes[11] = 0xff;
  std::memcpy(bytes + 12, &from.storage.v4.sin_addr, 4);
  to.length = sizeof(sockaddr_in6);
  return to;
}

bool same(const Address& a, const Address& b) {
  return a.length == b.length && std::memcmp(&a.storage, &b.storage, a.length) == 0;
}

}  // namespace

int32_t Engine::bind(const Address& address, const UdpSocketOptions& options,
                     const std::shared_ptr<Account>& account) {
  if (batch_ == nullptr) {
    std::unique_ptr<DatagramBatch> batch(new (std::nothrow) DatagramBatch);
    if (batch == nullptr || !batch->open()) return -ENOMEM;
    batch_ = std::move(batch);
  }
  Descriptor descriptor;
  const int result = open_udp_socket(address, options, descriptor);
  if (result < 0) return result;
  UdpSocket* socket = sockets_.insert<UdpSocket>();
  if (socket == nullptr) return -ENOMEM;
  socket->descriptor = std::move(descriptor);
  socket->account = account_or_own(account);
  socket->is_v6 = address.is_v6();
  socket->options = options;
  update_interest(*socket);
  backend_->settle(*this);
  if (socket->watch_error != 0) {
    const int error = socket->watch_error;
    touched_.remove(*socket);
    sockets_.remove(*socket);
    return error;
  }
  return static_cast<int32_t>(socket->id);
}

int Engine::membership(uint32_t id, const Address& group, const char* interface, bool join) {
  UdpSocket* socket = sockets_.find<UdpSocket>(id);
  return socket == nullptr ? -EBADF
                           : udp_membership(socket->descriptor.get(), group, interface, join);
}

int Engine::multicast_interface(uint32_t id, const char* interface) {
  UdpSocket* socket = sockets_.find<UdpSocket>(id);
  return socket == nullptr ? -EBADF : udp_multicast_interface(socket->descriptor.get(), interface);
}

Served Engine::readable(Socket& socket) {
  UdpSocket& from = static_cast<UdpSocket&>(socket);
  for (int i = 0;; i++) {
    if (!ready_for_more()) return i > 0 ? Served::some : Served::again;
    // What came before, for whomever it was, comes first.
    if (!place_arrived() || slabs_.empty()) {
      if (ready_for_more()) lacks_slabs(from);
      return i > 0 || ready_for_more() ? Served::some : Served::again;
    }
    if (i == receives_max || !from.halves.reads()) return Served::some;
    const int count = batch_->receive(from.descriptor.get());
    if (count < 0) {
      if (count == -EAGAIN) return i > 0 ? Served::some : Served::nothing;
      report(Record::receive_failed(from.id, count));
      return Served::some;
    }
    arrived_for_ = from.key;
    arrived_ = static_cast<uint32_t>(count);
    arrived_next_ = 0;
    // Less than was asked for: there is no more, and asking would cost a system call.
    if (place_arrived() && arrived_ < DatagramBatch::count_max) return Served::some;
  }
}

// False if there is no room for all of them in this turn: the rest waits where it is.
bool Engine::place_arrived() {
  UdpSocket* socket = sockets_.find_key<UdpSocket>(arrived_for_);
  // Its socket was closed: nobody waits for them.
  if (socket == nullptr || socket->halves.closing()) arrived_next_ = arrived_;
  for (; arrived_next_ < arrived_; arrived_next_++) {
    if (!ready_for_more() || !place_datagram(*socket, arrived_next_)) return false;
  }
  return true;
}

// False if memory is short.
bool Engine::place_datagram(const UdpSocket& socket, uint32_t index) {
  const uint32_t length = batch_->length(index);
  const Address from = batch_->sender(index);
  if (length > socket.options.datagram_max) {
    report(Record::truncated(socket.id, length, from));
    return true;
  }
  const Memory place = place_for(std::max(length, 1u));
  if (place.size == 0) return false;
  std::memcpy(place.base, batch_->data(index), length);
  socket.account->counters.bytes_in += length;
  if (!same(from, sender_)) report(Record::sender(socket.id, from));
  sender_ = from;
  report(Record::data(socket.id, place.slab, place.offset, length));
  return true;
}

void Engine::send(uint32_t id, const uint8_t* data, size_t length, const Address& to) {
  UdpSocket* socket = sockets_.find<UdpSocket>(id);
  if (socket == nullptr || !socket->halves.takes_output()) return;
  const bool maps = socket->is_v6 && !to.is_v6();
  socket->output.push_back(Datagram{data, length, maps ? mapped(to) : to, {}});
  counters_of(*socket).writes++;
  touch(*socket);
}

void Engine::flush_datagrams(UdpSocket& socket) {
  // Behind what waits already, if anything does.
  const size_t done =
      socket.queue.empty() ? transmit(socket, socket.output, socket.output.size()) : 0;
  for (size_t i = done; i < socket.output.size(); i++) enqueue(socket, socket.output[i]);
  socket.output.clear();
  output_changed(socket);
}

void Engine::output_changed(UdpSocket& socket) {
  if (socket.halves.closing()) {
    if (socket.queue.empty()) return end(socket, 0, Call::none);
    limit_close(socket);
  }
  update_interest(socket);
}

// How many are done with: sent, or reported as failed. The kernel took no more.
size_t Engine::send_queued(UdpSocket& socket) {
  const size_t most = std::min(socket.queue.size(), sends_max * DatagramBatch::count_max);
  const size_t done = transmit(socket, socket.queue, most);
  for (size_t i = 0; i < done; i++) {
    set_queued(socket, socket.queued_bytes - (socket.queue.front().length + overhead));
    socket.queue.pop_front();
  }
  return done;
}

// The same of the first `count` of a list.
template <typename List>
size_t Engine::transmit(const UdpSocket& socket, const List& list, size_t count) {
  size_t done = 0;
  while (done < count) {
    mmsghdr messages[DatagramBatch::count_max];
    iovec pieces[DatagramBatch::count_max];
    const size_t most = std::min(std::size(messages), count - done);
    for (size_t i = 0; i < most; i++) {
      const Datagram& datagram = list[done + i];
      pieces[i] = iovec{const_cast<uint8_t*>(datagram.data), datagram.length};
      messages[i] = mmsghdr{};
      messages[i].msg_hdr.msg_name = const_cast<sockaddr*>(datagram.to.data());
      messages[i].msg_hdr.msg_namelen = datagram.to.length;
      messages[i].msg_hdr.msg_iov = &pieces[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int result = options_.send_datagrams(socket.descriptor.get(), messages,
                                               static_cast<unsigned>(most), MSG_NOSIGNAL);
    if (result > 0) {
      Counters& counters = counters_of(socket);
      for (int i = 0; i < result; i++) counters.bytes_out += pieces[i].iov_len;
      counters.datagrams_out += static_cast<uint64_t>(result);
      done += static_cast<size_t>(result);
      continue;
    }
    const int error = result < 0 ? errno : EAGAIN;
    if (error == EINTR) continue;
    if (error == EAGAIN) break;
    // It is about the first one; the others may fare better.
    report(Record::send_failed(socket.id, -error, list[done].to));
    done++;
  }
  return done;
}

void Engine::enqueue(UdpSocket& socket, Datagram& datagram) {
  const size_t cost = datagram.length + overhead;
  const bool fits =
      socket.queued_bytes + cost <= socket.options.queue_max &&
      socket.account->counters.queued_bytes + cost <= socket.account->limits.queued_total_max;
  if (fits) datagram.copy.reset(new (std::nothrow) uint8_t[datagram.length]);
  if (datagram.copy == nullptr) {
    return report(Record::send_failed(socket.id, fits ? -ENOMEM : -ENOBUFS, datagram.to));
  }
  std::memcpy(datagram.copy.get(), datagram.data, datagram.length);
  datagram.data = datagram.copy.get();
  socket.queue.push_back(std::move(datagram));
  set_queued(socket, socket.queued_bytes + cost);
}

void Engine::fail_queued(UdpSocket& socket, int error) {
  for (const Datagram& datagram : socket.queue) {
    report(Record::send_failed(socket.id, error, datagram.to));
  }
  socket.queue.clear();
  set_queued(socket, 0);
}

}  // namespace marketplace::engine
