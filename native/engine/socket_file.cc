// Files of Unix sockets; see socket_file.h.
#include "socket_file.h"

#include <sys/stat.h>
#include <unistd.h>

namespace marketplace::engine {

void SocketFile::own(const char* path) {
  struct stat status {};
  // Gone already: then there is nothing to remove.
  if (lstat(path, &status) != 0) return;
  path_ = path;
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

void SocketFile::remove() {
  if (path_.empty()) return;
  struct stat status {};
  const bool ours =
      lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
  // What fails here leaves a file behind, which the next listener is told of.
  if (ours) static_cast<void>(unlink(path_.c_str()));
  path_.clear();
}

}  // namespace marketplace::engine
