// Chooses the backend: the one that is asked for, or the best that works here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "layout.h"

namespace marketplace::engine {

// What was chosen, and why; for people to read.
struct BackendInfo {
  const char* backend = "";
  const char* requested = "";
  // Empty if it is what was asked for, with all that it can do.
  std::string reason;
  std::vector<const char*> features;
};

// Opened; nullptr if what was asked for is not to be had, with `error` (negative errno) and the
// reason in `info`.
std::unique_ptr<Backend> choose_backend(BackendName name, BackendInfo& info, int& error);

}  // namespace marketplace::engine
