// Owns one file descriptor and nothing else: closed exactly once, never copied.
#pragma once

#include <unistd.h>

namespace marketplace::engine {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor(Descriptor&& other) noexcept : value_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Descriptor() { reset(); }

  int get() const { return value_; }
  bool valid() const { return value_ >= 0; }

  int release() {
    const int value = value_;
    value_ = -1;
    return value;
  }

  // Linux frees the number even when close() reports EINTR or EIO, so the result changes nothing:
  // trying again could close somebody else's descriptor.
  void reset(int value = -1) {
    if (value_ >= 0) static_cast<void>(::close(value_));
    value_ = value;
  }

 private:
  int value_ = -1;
};

}  // namespace marketplace::engine
