// See choose.h.
#include "choose.h"

#include <cstring>
#include <utility>

#include "epoll.h"
#include "uring.h"

namespace marketplace::engine {

namespace {

// What `automatic` tries first: epoll, until io_uring is measurably better everywhere.
constexpr bool prefer_io_uring = false;

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
  if (name == BackendName::io_uring || (name == BackendName::automatic && prefer_io_uring)) {
    auto uring = std::make_unique<UringBackend>();
    error = uring->open();
    if (error == 0) {
      info.backend = "io_uring";
      describe(uring->features(), info);
      return uring;
    }
    info.reason = std::string(uring->failure()) + ": " + std::strerror(-error);
    if (name == BackendName::io_uring) return nullptr;
  }
  info.backend = "epoll";
  auto epoll = std::make_unique<EpollBackend>();
  error = epoll->open();
  if (error == 0) return epoll;
  info.reason = std::string("epoll can't be opened: ") + std::strerror(-error);
  return nullptr;
}

}  // namespace marketplace::engine
