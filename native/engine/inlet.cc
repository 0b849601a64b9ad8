// The taker's side of the queue of accepted connections, and its memory; see inlet.h.
#include "inlet.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "socket.h"

namespace marketplace::engine {

namespace {

int duplicate_into(Descriptor& out, int descriptor) {
  const int result = duplicate(descriptor);
  if (result < 0) return result;
  out.reset(result);
  return 0;
}

}  // namespace

InletMapping::~InletMapping() {
  if (memory_ != nullptr) static_cast<void>(munmap(memory_, sizeof(InletMemory)));
}

int InletMapping::map(int descriptor) {
  void* memory =
      mmap(nullptr, sizeof(InletMemory), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) return -errno;
  memory_ = static_cast<InletMemory*>(memory);
  return 0;
}

int make_inlet_memory(Descriptor& out) {
  out.reset(memfd_create("marketplace-inlet", MFD_CLOEXEC));
  if (!out.valid()) return -errno;
  return ftruncate(out.get(), sizeof(InletMemory)) == 0 ? 0 : -errno;
}

void wake(int eventfd) {
  static_cast<void>(eventfd_write(eventfd, 1));
}

int make_pipe(Descriptor& reading, Descriptor& writing) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -errno;
  reading.reset(ends[0]);
  writing.reset(ends[1]);
  return 0;
}

void tell(int writing) {
  const char mark = 0;
  static_cast<void>(!::write(writing, &mark, 1));
}

int Inlet::open(const InletDescriptors& theirs, Descriptor& watched) {
  int result = duplicate_into(acceptor_, theirs.acceptor);
  if (result == 0) result = duplicate_into(told_, theirs.told);
  if (result == 0 && theirs.socket >= 0) result = duplicate_into(socket_, theirs.socket);
  if (result == 0) result = watch(watched);
  if (result == 0) result = memory_.map(theirs.memory);
  if (result == 0) released_ = false;
  return result;
}

int Inlet::watch(Descriptor& watched) {
  if (!socket_.valid()) return duplicate_into(watched, told_.get());
  watched.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!watched.valid()) return -errno;
  epoll_ = watched.get();
  for (const int one : {told_.get(), socket_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = one;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, one, &event) != 0) return -errno;
  }
  return 0;
}

void Inlet::want(bool wanted) {
  if (released_) return;
  memory_->open.store(wanted ? 1 : 0);
  if (wanted) tell_starved();
  // What comes to its own socket meanwhile is the acceptor's to accept.
  if (socket_.valid()) wake(acceptor_.get());
}

// The acceptor sets the flag before it looks a last time: one of both sees what the other did.
void Inlet::tell_starved() {
  if (memory_->starved.load() != 0 && memory_->starved.exchange(0) != 0) wake(acceptor_.get());
}

int Inlet::next(Descriptor& out, Address& peer) {
  if (released_) return -EAGAIN;
  const int result = next_of_both(out, peer);
  if (result == 0) live_++;
  return result;
}

int Inlet::next_of_both(Descriptor& out, Address& peer) {
  // What somebody else has accepted has waited longer. To find that there is none costs a system
  // call, which is spared as long as its own socket has some.
  if (socket_.valid() && memory_->taken.load() == memory_->put.load(std::memory_order_acquire)) {
    const int result = accept_own(out, peer);
    if (result != -EAGAIN) return result;
  }
  return take(out, peer);
}

int Inlet::accept_own(Descriptor& out, Address& peer) {
  const int result = memory_->own.load() == 0 ? -EAGAIN : accept_socket(socket_.get(), out, peer);
  if (result == 0) {
    memory_->accepted.fetch_add(1, std::memory_order_release);
    return 0;
  }
  // From now on the acceptor does it, or the listener was closed.
  if (memory_->own.load() != 0) return result;
  drop_socket();
  return -EAGAIN;
}

// The socket stays open, as the acceptor has a descriptor of it: so it would stay in the epoll.
void Inlet::drop_socket() {
  if (!socket_.valid()) return;
  static_cast<void>(epoll_ctl(epoll_, EPOLL_CTL_DEL, socket_.get(), nullptr));
  socket_.reset();
}

// If it has more than that, it stays readable.
void Inlet::empty_pipe() {
  char marks[512];
  static_cast<void>(!::read(told_.get(), marks, sizeof(marks)));
}

int Inlet::take(Descriptor& out, Address& peer) {
  for (;;) {
    uint32_t taken = memory_->taken.load();
    if (taken == memory_->put.load(std::memory_order_acquire)) {
      empty_pipe();
      // What came before the pipe was read is not told again.
      if (taken == memory_->put.load()) return -EAGAIN;
    }
    const InletMemory::Entry entry = memory_->entries[taken % inlet_capacity];
    // The acceptor may have taken it back.
    if (!memory_->taken.compare_exchange_strong(taken, taken + 1)) continue;
    out.reset(entry.descriptor);
    peer = Address{};
    peer.length = std::min<uint32_t>(entry.length, sizeof(entry.peer));
    std::memcpy(peer.data(), &entry.peer, peer.length);
    break;
  }
  tell_starved();
  return 0;
}

Inlet::~Inlet() {
  release();
  if (live_ == 0) return;
  memory_->gone.fetch_add(live_, std::memory_order_release);
  wake(acceptor_.get());
}

void Inlet::left() {
  live_--;
  memory_->gone.fetch_add(1, std::memory_order_release);
  // The acceptor keeps its side until then.
  if (released_ && live_ == 0) wake(acceptor_.get());
}

void Inlet::release() {
  if (released_) return;
  released_ = true;
  memory_->open.store(0);
  memory_->released.store(1);
  drop_socket();
  wake(acceptor_.get());
}

}  // namespace marketplace::engine
