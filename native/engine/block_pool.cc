// Idle blocks by size, last in, first out; see block_pool.h.
#include "block_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <mutex>
#include <utility>
#include <vector>

namespace marketplace::engine {

namespace {

// What one call of `settle` gives to the system: more of it would be a noticeable pause.
constexpr size_t step_max = 16 * 1024 * 1024;

void unmap(uint8_t* base, size_t size) {
  const int result = ::munmap(base, size);
  // It can only fail for an address that is none of ours.
  assert(result == 0);
  static_cast<void>(result);
}

}  // namespace

// A few sizes exist: a list of them is looked through faster than anything else.
struct BlockPool::State {
  struct Size {
    size_t size;
    std::vector<uint8_t*> idle;
    // How many were idle all the time since the last `settle`.
    size_t least = 0;
  };

  explicit State(size_t limit) : idle_max(limit) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    for (const Size& each : sizes) {
      for (uint8_t* base : each.idle) unmap(base, each.size);
    }
  }

  Size& of(size_t size) {
    for (Size& each : sizes) {
      if (each.size == size) return each;
    }
    sizes.push_back(Size{size, {}, 0});
    return sizes.back();
  }

  // Whether it is kept.
  bool give_back(uint8_t* base, size_t size) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!wanted || size > idle_max - idle) return false;
    of(size).idle.push_back(base);
    idle += size;
    return true;
  }

  std::mutex mutex;
  const size_t idle_max;
  size_t idle = 0;
  // A block was taken since the last `settle`, or between the last two.
  bool wanted = false;
  bool taken = false;
  std::vector<Size> sizes;
};

BlockPool::BlockPool(size_t idle_max) : state_(std::make_shared<State>(idle_max)) {}

BlockPool::Block BlockPool::take(size_t size) {
  assert(size > 0);
  uint8_t* base = nullptr;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->wanted = true;
    state_->taken = true;
    State::Size& each = state_->of(size);
    if (!each.idle.empty()) {
      base = each.idle.back();
      each.idle.pop_back();
      each.least = std::min(each.least, each.idle.size());
      state_->idle -= size;
    }
  }
  if (base == nullptr) {
    void* memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return Block{};
    base = static_cast<uint8_t*>(memory);
  }
  return Block(base, [size, pool = std::weak_ptr<State>(state_)](uint8_t* block) {
    const std::shared_ptr<State> state = pool.lock();
    if (state == nullptr || !state->give_back(block, size)) unmap(block, size);
  });
}

bool BlockPool::settle() {
  std::vector<std::pair<uint8_t*, size_t>> surplus;
  bool more = false;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->wanted = std::exchange(state_->taken, false);
    size_t bytes = 0;
    for (State::Size& each : state_->sizes) {
      const size_t most = (step_max - std::min(step_max, bytes)) / each.size;
      const size_t unused = state_->wanted ? (each.least + 1) / 2 : each.idle.size();
      const size_t count = std::min(unused, most);
      // Those at the front have been idle for longest.
      const auto end = each.idle.begin() + static_cast<std::ptrdiff_t>(count);
      for (auto block = each.idle.begin(); block != end; block++) {
        surplus.emplace_back(*block, each.size);
      }
      each.idle.erase(each.idle.begin(), end);
      each.least = each.idle.size();
      bytes += count * each.size;
    }
    state_->idle -= bytes;
    more = state_->wanted || state_->idle > 0;
  }
  for (const auto& [base, size] : surplus) unmap(base, size);
  return more;
}

size_t BlockPool::idle() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->idle;
}

}  // namespace marketplace::engine
