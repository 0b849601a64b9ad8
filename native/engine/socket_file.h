// The file of a Unix socket that is listened on: removed when the listener closes, as Node does,
// unless it is no longer that file.
#pragma once

#include <sys/types.h>

#include <string>

namespace marketplace::engine {

class SocketFile {
 public:
  SocketFile() = default;
  SocketFile(const SocketFile&) = delete;
  SocketFile& operator=(const SocketFile&) = delete;
  ~SocketFile() { remove(); }
  void remove();

  // Takes charge of the file that a socket was just bound to.
  void own(const char* path);
  // Somebody else has taken charge of it.
  void disown() { path_.clear(); }

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace marketplace::engine
