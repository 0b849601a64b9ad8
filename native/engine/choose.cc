// See choose.h.
#include "choose.h"

#include <cstring>
#include <utility>

#include "epoll.h"
#include "uring.h"

namespace marketplace::engine {

namespace {

// What makes io_uring cheaper than epoll; kernels from 6.12 on have it all. With less there is
// nothing in it that was measured, and epoll has fewer ways to be forbidden.
bool is_complete(const UringFeatures& features) {
  return features.multishot_receive && features.incremental_buffers && features.batched_sends;
}

void describe(const UringFeatures& features, BackendInfo& info) {
  const auto note = [&](bool used, const char* name) {
    if (used) {
      info.features.push_back(name);
    } else {
      info.reason += info.reason.empty() ? "without " : ", ";
      info.reason += name;
    }
  };
  note(features.multishot_receive, "multishot receive");
  note(features.incremental_buffers, "incremental buffers");
  note(features.batched_sends, "batched sends");
}

}  // namespace

std::unique_ptr<Backend> choose_backend(BackendName name, BackendInfo& info, int& error) {
  constexpr const char* names[] = {"auto", "epoll", "io_uring"};
  info.requested = names[static_cast<int>(name)];
  if (name != BackendName::epoll) {
    auto uring = std::make_unique<UringBackend>();
    error = uring->open();
    if (error == 0) {
      describe(uring->features(), info);
      info.backend = "io_uring";
      if (name == BackendName::io_uring || is_complete(uring->features())) return uring;
      info.reason = "io_uring is " + info.reason;
      info.features.clear();
    } else {
      info.reason = std::string(uring->failure()) + ": " + std::strerror(-error);
      if (name == BackendName::io_uring) return nullptr;
    }
  }
  info.backend = "epoll";
  auto epoll = std::make_unique<EpollBackend>();
  error = epoll->open();
  if (error == 0) return epoll;
  info.reason = std::string("epoll can't be opened: ") + std::strerror(-error);
  return nullptr;
}

}  // namespace marketplace::engine
