// The taker's side of the queue of accepted connections, and its memory; see inlet.h.
#include "inlet.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "socket.h"

namespace marketplace::engine {

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

int Inlet::open(int memory, int acceptor) {
  const int duplicated = duplicate(acceptor);
  if (duplicated < 0) return duplicated;
  acceptor_.reset(duplicated);
  const int result = memory_.map(memory);
  if (result == 0) released_ = false;
  return result;
}

void Inlet::want(bool wanted) {
  if (released_) return;
  memory_->open.store(wanted ? 1 : 0);
  if (wanted) tell_starved();
}

// The acceptor sets the flag before it looks a last time: one of both sees what the other did.
void Inlet::tell_starved() {
  if (memory_->starved.load() != 0 && memory_->starved.exchange(0) != 0) wake(acceptor_.get());
}

int Inlet::take(int eventfd, Descriptor& out, Address& peer) {
  if (released_) return -EAGAIN;
  for (;;) {
    uint32_t taken = memory_->taken.load();
    if (taken == memory_->put.load(std::memory_order_acquire)) {
      eventfd_t count = 0;
      static_cast<void>(eventfd_read(eventfd, &count));
      // What came before the eventfd was read is not told again.
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

void Inlet::release() {
  if (released_) return;
  released_ = true;
  memory_->open.store(0);
  memory_->released.store(1);
  wake(acceptor_.get());
}

}  // namespace marketplace::engine
