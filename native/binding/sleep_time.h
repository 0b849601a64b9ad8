// Tells libuv how long its loop has slept in somebody else's system call, as it counts what it
// sleeps itself: Node's eventLoopUtilization is made of that.
//
// libuv has functions to read that time, and none to add to it. Where it keeps it has been the same
// in all versions that Node 20 and later have; `find` makes sure of that with the functions to
// read, and says so if it is not so.
#pragma once

#include <uv.h>

#include <cstdint>

namespace marketplace::binding {

class SleepTime {
 public:
  // False: this libuv keeps it elsewhere. To be called while the loop does not sleep.
  bool find(uv_loop_t* loop);
  // Nanoseconds, as of uv_hrtime.
  void begin(uint64_t now);
  void end(uint64_t now);

 private:
  // Since when the loop sleeps, or 0; and how long it has slept before. Other threads read them.
  uint64_t* since_ = nullptr;
  uint64_t* total_ = nullptr;
};

}  // namespace marketplace::binding
