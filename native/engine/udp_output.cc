// Sending: a turn's datagrams in as few system calls as there are sockets, the rest from a bounded
// queue, then close.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "udp.h"

namespace marketplace::engine {

namespace {

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

}  // namespace

void UdpEngine::touch(UdpSocket& socket) {
  if (socket.dirty) return;
  socket.dirty = true;
  dirty_.push_back(socket.key);
}

void UdpEngine::send(uint32_t id, const uint8_t* data, size_t length, const Address& to) {
  UdpSocket* socket = sockets_.find(id);
  if (socket == nullptr || socket->closing) return;
  socket->pending.push_back(static_cast<uint32_t>(pending_.size()));
  pending_.push_back(Pending{data, length, socket->is_v6 && !to.is_v6() ? mapped(to) : to});
  touch(*socket);
}

void UdpEngine::close(uint32_t id) {
  UdpSocket* socket = sockets_.find(id);
  if (socket == nullptr) return;
  socket->closing = true;
  touch(*socket);
}

void UdpEngine::flush() {
  for (const Key key : dirty_) {
    UdpSocket* socket = sockets_.find_key(key);
    if (socket == nullptr) continue;
    socket->dirty = false;
    flush_socket(*socket);
  }
  dirty_.clear();
  pending_.clear();
}

void UdpEngine::flush_socket(UdpSocket& socket) {
  // Behind what waits already, if anything does.
  const size_t done = socket.queue.empty() ? send_pending(socket) : 0;
  for (size_t i = done; i < socket.pending.size(); i++)
    enqueue(socket, pending_[socket.pending[i]]);
  socket.pending.clear();
  if (socket.closing) return finish(socket);
  arm(socket);
}

size_t UdpEngine::send_pending(UdpSocket& socket) {
  return transmit(socket, socket.pending.size(), [&](size_t i) {
    const Pending& datagram = pending_[socket.pending[i]];
    return Outgoing{datagram.data, datagram.length, &datagram.to};
  });
}

size_t UdpEngine::send_queued(UdpSocket& socket) {
  const size_t most = std::min(socket.queue.size(), size_t{batch_max} * sends_max);
  const size_t done = transmit(socket, most, [&](size_t i) {
    const UdpQueued& datagram = socket.queue[i];
    return Outgoing{datagram.data.get(), datagram.length, &datagram.to};
  });
  for (size_t i = 0; i < done; i++) {
    socket.queued_bytes -= socket.queue.front().length + overhead;
    socket.queue.pop_front();
  }
  return done;
}

template <typename At>
size_t UdpEngine::transmit(UdpSocket& socket, size_t count, At at) {
  size_t done = 0;
  while (done < count) {
    const size_t most = std::min(size_t{batch_max}, count - done);
    for (size_t i = 0; i < most; i++) {
      const Outgoing datagram = at(done + i);
      pieces_[i] = iovec{const_cast<uint8_t*>(datagram.data), datagram.length};
      messages_[i] = mmsghdr{};
      messages_[i].msg_hdr.msg_name = const_cast<sockaddr*>(datagram.to->data());
      messages_[i].msg_hdr.msg_namelen = datagram.to->length;
      messages_[i].msg_hdr.msg_iov = &pieces_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
    const int result = options_.send(socket.descriptor.get(), messages_.data(),
                                     static_cast<unsigned>(most), MSG_NOSIGNAL);
    if (result > 0) {
      for (int i = 0; i < result; i++) {
        counters_.datagrams_out++;
        counters_.bytes_out += pieces_[static_cast<size_t>(i)].iov_len;
      }
      done += static_cast<size_t>(result);
      continue;
    }
    const int error = result < 0 ? errno : EAGAIN;
    if (error == EINTR) continue;
    if (error == EAGAIN) break;
    // It is about the first one; the others may fare better.
    send_failed(socket, *at(done).to, -error);
    done++;
  }
  return done;
}

void UdpEngine::send_failed(const UdpSocket& socket, const Address& to, int error) {
  report(UdpEvent::send_failed, socket.id, to, error, 0, 0);
}

void UdpEngine::enqueue(UdpSocket& socket, const Pending& datagram) {
  const size_t cost = datagram.length + overhead;
  if (socket.queued_bytes + cost > socket.options.queue_max) {
    return send_failed(socket, datagram.to, -ENOBUFS);
  }
  std::unique_ptr<uint8_t[]> copy(new (std::nothrow) uint8_t[datagram.length]);
  if (!copy) return send_failed(socket, datagram.to, -ENOMEM);
  std::memcpy(copy.get(), datagram.data, datagram.length);
  socket.queue.push_back(UdpQueued{std::move(copy), datagram.length, datagram.to});
  socket.queued_bytes += cost;
}

void UdpEngine::arm(UdpSocket& socket) {
  const bool wanted = !socket.queue.empty();
  if (wanted == socket.armed_output) return;
  epoll_event event{};
  event.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.u64 = socket.key;
  if (options_.control(epoll_.get(), EPOLL_CTL_MOD, socket.descriptor.get(), &event) == 0) {
    socket.armed_output = wanted;
  } else if (wanted) {
    // Nobody would say when they can be sent.
    fail_queued(socket, -errno);
  }
}

void UdpEngine::fail_queued(UdpSocket& socket, int error) {
  for (const UdpQueued& datagram : socket.queue) send_failed(socket, datagram.to, error);
  socket.queue.clear();
  socket.queued_bytes = 0;
}

void UdpEngine::finish(UdpSocket& socket) {
  while (!socket.queue.empty() && send_queued(socket) > 0) continue;
  fail_queued(socket, -ECANCELED);
  report(UdpEvent::closed, socket.id);
  sockets_.retire(socket, reported_);
}

}  // namespace marketplace::engine
