// One wish to malloc, which V8 takes slabs from. It holds for all of the process, whose memory is
// not ours: it is made only if the program asks for it (MARKETPLACE_KEEP_MEMORY).
#pragma once

#include <cstdlib>

namespace marketplace::binding {

// glibc returns freed memory to the system at once, above 128 KiB, and the kernel has to clear and
// map every page of the next slab again: about 25 faults per MiB received, a tenth of the time. It
// learns from what a program frees: memory up to the size of the biggest block freed so far is kept
// for the next one, and twice as much in all. So one block of the biggest size that it learns from
// (32 MiB) is allocated and freed, which costs two system calls. That way limits that somebody
// has set (GLIBC_TUNABLES, mallopt) stay in force, and other mallocs don't mind.
inline void keep_freed_memory() {
  constexpr size_t biggest_learnt_from = 32 * 1024 * 1024;
  constexpr size_t header = 64 * 1024;
  void* block = std::malloc(biggest_learnt_from - header);
  // Otherwise the compiler may leave out both calls.
  if (block != nullptr) *static_cast<volatile char*>(block) = 0;
  std::free(block);
}

}  // namespace marketplace::binding
