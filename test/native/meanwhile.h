// What a peer does in a thread of its own while the test drives the engine.
//
// Invariants: the thread has ended when this goes, also if the test failed before; then the peer's
// socket is shut down first, so that nothing it does can wait any more. What fails in the thread
// fails the test.
#pragma once

#include <sys/socket.h>

#include <exception>
#include <functional>
#include <thread>
#include <utility>

#include "harness.h"

namespace marketplace::test {

class Meanwhile {
 public:
  Meanwhile(const Descriptor& socket, std::function<void()> work)
      : socket_(socket), work_(std::move(work)), thread_([this] { run(); }) {}
  ~Meanwhile() {
    if (!thread_.joinable()) return;
    static_cast<void>(::shutdown(socket_.get(), SHUT_RDWR));
    thread_.join();
  }
  Meanwhile(const Meanwhile&) = delete;
  Meanwhile& operator=(const Meanwhile&) = delete;

  // Waits until it is done.
  void join() {
    thread_.join();
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  void run() {
    try {
      work_();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  const Descriptor& socket_;
  std::function<void()> work_;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace marketplace::test
