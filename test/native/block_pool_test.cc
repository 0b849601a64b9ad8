// Blocks of memory that are used again: which one, how many wait, and that none is lost.
#include "../../native/engine/block_pool.h"

#include <sys/mman.h>

#include <thread>
#include <vector>

#include "harness.h"

namespace marketplace::test {

namespace {

using engine::BlockPool;

constexpr size_t size = 128 * 1024;

// Whether a page is there, and not the system's.
bool is_mapped(void* page) {
  unsigned char residence = 0;
  return ::mincore(page, 4096, &residence) == 0;
}

}  // namespace

TEST("a block that came back last is taken first, with what was in it") {
  BlockPool pool(1 << 20);
  BlockPool::Block first = pool.take(size);
  BlockPool::Block second = pool.take(size);
  uint8_t* const base = second.get();
  CHECK(base != first.get());
  *base = 7;
  first.reset();
  second.reset();
  CHECK_EQUAL(pool.idle(), 2 * size);
  first = pool.take(size);
  CHECK(first.get() == base);
  CHECK_EQUAL(*first, 7);
  // Of another size there is none.
  second = pool.take(size / 4);
  CHECK_EQUAL(pool.idle(), size);
}

TEST("a block comes back when the last holder lets go") {
  BlockPool pool(1 << 20);
  BlockPool::Block one = pool.take(size);
  BlockPool::Block other = one;
  one.reset();
  CHECK_EQUAL(pool.idle(), 0);
  other.reset();
  CHECK_EQUAL(pool.idle(), size);
}

TEST("no more blocks are idle than the limit says; the others are the system's") {
  BlockPool pool(2 * size);
  std::vector<BlockPool::Block> blocks;
  for (int i = 0; i < 5; i++) blocks.push_back(pool.take(size));
  uint8_t* const last = blocks.back().get();
  while (!blocks.empty()) blocks.erase(blocks.begin());
  CHECK_EQUAL(pool.idle(), 2 * size);
  CHECK(!is_mapped(last));
}

TEST(
    "idle blocks become fewer while they are not needed, and none is kept when nothing is wanted") {
  BlockPool pool(size * 1024);
  std::vector<BlockPool::Block> blocks;
  for (int i = 0; i < 300; i++) blocks.push_back(pool.take(size));
  BlockPool::Block late = blocks.back();
  blocks.clear();
  CHECK_EQUAL(pool.idle(), 299 * size);
  // They have not been idle since the call before.
  CHECK(pool.settle());
  CHECK_EQUAL(pool.idle(), 299 * size);
  BlockPool::Block block = pool.take(size);
  block.reset();
  // Half of those that were not needed, but in steps of 16 MiB.
  CHECK(pool.settle());
  CHECK_EQUAL(pool.idle(), (299 - 128) * size);
  block = pool.take(size);
  block.reset();
  CHECK(pool.settle());
  CHECK_EQUAL(pool.idle(), (299 - 128 - 85) * size);
  // From here on nobody takes any.
  CHECK(!pool.settle());
  CHECK_EQUAL(pool.idle(), 0);
  uint8_t* const base = late.get();
  late.reset();
  CHECK_EQUAL(pool.idle(), 0);
  CHECK(!is_mapped(base));
}

TEST("blocks outlive their pool, and are the system's then") {
  BlockPool::Block kept;
  uint8_t* idle = nullptr;
  {
    BlockPool pool(1 << 20);
    kept = pool.take(size);
    BlockPool::Block block = pool.take(size);
    idle = block.get();
    block.reset();
    CHECK(is_mapped(idle));
  }
  CHECK(!is_mapped(idle));
  uint8_t* const base = kept.get();
  *base = 1;
  kept.reset();
  CHECK(!is_mapped(base));
}

TEST("blocks come back from other threads") {
  BlockPool pool(size * 64);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&pool] {
      for (int round = 0; round < 500; round++) {
        std::vector<BlockPool::Block> blocks;
        for (int each = 0; each < 8; each++) blocks.push_back(pool.take(size));
        for (const BlockPool::Block& block : blocks) *block = 1;
      }
    });
  }
  for (int round = 0; round < 100; round++) pool.settle();
  for (std::thread& thread : threads) thread.join();
  CHECK(pool.idle() <= 32 * size);
}

}  // namespace marketplace::test
