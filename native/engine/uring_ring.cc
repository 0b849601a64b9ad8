// System calls and shared memory of one io_uring; see uring_ring.h.
#include "uring_ring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace marketplace::engine::uring {

namespace {

// The same on every architecture that has been added since they were; older headers lack them.
constexpr long call_setup = 425;
constexpr long call_enter = 426;
constexpr long call_register = 427;

uint32_t load_acquire(uint32_t* word) {
  return std::atomic_ref<uint32_t>(*word).load(std::memory_order_acquire);
}

uint32_t load_relaxed(uint32_t* word) {
  return std::atomic_ref<uint32_t>(*word).load(std::memory_order_relaxed);
}

void store_release(uint32_t* word, uint32_t value) {
  std::atomic_ref<uint32_t>(*word).store(value, std::memory_order_release);
}

// So often an interrupted call is made again at once.
constexpr int interruptions_max = 16;

}  // namespace

long enter_call(int ring, uint32_t count, uint32_t flags, const WaitArgument* wait) {
  if (wait == nullptr) return ::syscall(call_enter, ring, count, 0, flags, nullptr, 0);
  return ::syscall(call_enter, ring, count, 1, flags | enter_ext_argument, wait, sizeof(*wait));
}

Mapping::~Mapping() {
  if (base_ != nullptr) static_cast<void>(::munmap(base_, size_));
}

int Mapping::keep(void* memory, size_t size) {
  if (memory == MAP_FAILED) return -errno;
  base_ = static_cast<uint8_t*>(memory);
  size_ = size;
  return 0;
}

int Mapping::map(size_t size, int descriptor, uint64_t offset) {
  return keep(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor,
                     static_cast<off_t>(offset)),
              size);
}

int Mapping::allocate(size_t size) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  return keep(::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0), size);
}

int Ring::open(uint32_t entries, uint32_t completions) {
  Params params{};
  params.flags = setup_cqsize | setup_clamp | setup_submit_all | setup_taskrun_flag |
                 setup_single_issuer | setup_defer_taskrun;
  params.cq_entries = completions;
  const long descriptor = ::syscall(call_setup, entries, &params);
  if (descriptor < 0) return -errno;
  // The kernel sets close-on-exec itself.
  descriptor_.reset(static_cast<int>(descriptor));
  constexpr uint32_t needed = feature_single_mmap | feature_nodrop | feature_ext_argument;
  if ((params.features & needed) != needed) return -ENOSYS;

  const size_t sq_size = params.sq.array + params.sq_entries * sizeof(uint32_t);
  const size_t cq_size = params.cq.cqes + params.cq_entries * sizeof(Cqe);
  int result = rings_.map(std::max(sq_size, cq_size), descriptor_.get(), offset_rings);
  if (result < 0) return result;
  result = sqes_.map(params.sq_entries * sizeof(Sqe), descriptor_.get(), offset_sqes);
  if (result < 0) return result;

  sq_head_ = rings_.at<uint32_t>(params.sq.head);
  sq_tail_ = rings_.at<uint32_t>(params.sq.tail);
  sq_flags_ = rings_.at<uint32_t>(params.sq.flags);
  sq_mask_ = *rings_.at<uint32_t>(params.sq.ring_mask);
  cq_head_ = rings_.at<uint32_t>(params.cq.head);
  cq_tail_ = rings_.at<uint32_t>(params.cq.tail);
  cq_flags_ = rings_.at<uint32_t>(params.cq.flags);
  cq_mask_ = *rings_.at<uint32_t>(params.cq.ring_mask);
  cqes_ = rings_.at<Cqe>(params.cq.cqes);
  // Submissions are used in order, so that this indirection stays as it is.
  uint32_t* array = rings_.at<uint32_t>(params.sq.array);
  for (uint32_t i = 0; i < params.sq_entries; i++) array[i] = i;
  return 0;
}

int Ring::add(uint32_t operation, const void* argument, uint32_t count) const {
  return ::syscall(call_register, descriptor_.get(), operation, argument, count) < 0 ? -errno : 0;
}

bool Ring::supports(Opcode opcode) const {
  Probe probe{};
  if (add(register_probe, &probe, Probe::operations_max) < 0) return false;
  return opcode <= probe.last_op && opcode < Probe::operations_max &&
         (probe.operations[opcode].flags & probe_supported) != 0;
}

Sqe* Ring::prepare() {
  if (sq_local_ - load_acquire(sq_head_) > sq_mask_) return nullptr;
  Sqe* sqe = sqes_.at<Sqe>(0) + (sq_local_ & sq_mask_);
  std::memset(static_cast<void*>(sqe), 0, sizeof(*sqe));
  sq_local_++;
  return sqe;
}

int Ring::enter(bool run) {
  store_release(sq_tail_, sq_local_);
  int interruptions = 0;
  for (;;) {
    const long taken = call_(descriptor_.get(), prepared(), run ? enter_getevents : 0u, nullptr);
    if (taken < 0) {
      if (errno != EINTR) return -errno;
      if (++interruptions == interruptions_max) return -EAGAIN;
      continue;
    }
    sq_submitted_ += static_cast<uint32_t>(taken);
    // Fewer: the kernel is short of memory for the others; trying again is all there is to do, but
    // without progress it would be for ever.
    if (prepared() == 0) return 0;
    if (taken == 0) return -EAGAIN;
  }
}

int Ring::work() {
  return call_(descriptor_.get(), 0, enter_getevents, nullptr) < 0 ? -errno : 0;
}

int Ring::sleep(int timeout_ms) {
  store_release(sq_tail_, sq_local_);
  const Timespec time{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000};
  WaitArgument wait{};
  if (timeout_ms >= 0) wait.timeout = reinterpret_cast<uintptr_t>(&time);
  const long taken = call_(descriptor_.get(), prepared(), enter_getevents, &wait);
  if (taken < 0) return -errno;
  sq_submitted_ += static_cast<uint32_t>(taken);
  return 0;
}

const Cqe* Ring::peek() const {
  const uint32_t head = *cq_head_;
  return head == load_acquire(cq_tail_) ? nullptr : cqes_ + (head & cq_mask_);
}

void Ring::pop() {
  store_release(cq_head_, *cq_head_ + 1);
}

bool Ring::work_waits() const {
  return (load_relaxed(sq_flags_) & (sq_taskrun | sq_cq_overflow)) != 0;
}

bool Ring::overflowed() const {
  return (load_relaxed(sq_flags_) & sq_cq_overflow) != 0;
}

// What became ready before this took effect has signalled nothing: to be looked for afterwards.
void Ring::quiet(bool on) {
  store_release(cq_flags_, on ? cq_eventfd_disabled : 0);
  if (!on) std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace marketplace::engine::uring
