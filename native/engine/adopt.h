// Descriptors that others have opened: which of them can be a socket of the engine's, and how they
// travel between processes over a Unix socket. Owns none of them: what is checked or sent stays
// whoever's it was.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "descriptor.h"
#include "layout.h"

namespace marketplace::engine {

// 0, or why this is no such socket (TCP or Unix): -EBADF: not open; -ENOTSOCK: something else;
// -EAFNOSUPPORT, -EPROTOTYPE, -EPROTONOSUPPORT: of another family or kind; -EINVAL: not listening,
// or listening where it should be connected; -ENOTCONN: not connected.
int check_adoptable(int descriptor, Adoptable as, bool& unix_domain);
// Non-blocking, and not for programs that this one starts.
int prepare_adopted(int descriptor);
// Not for programs that this one starts.
int close_on_exec(int descriptor);

// What one message of a Unix socket carries at most: Linux' SCM_MAX_FD.
constexpr size_t descriptors_per_message = 253;

// Sends bytes, of which the first carries the descriptors: how many bytes, or negative errno. Never
// waits.
ssize_t send_descriptors(int socket, const uint8_t* data, size_t length, const int* descriptors,
                         size_t count);
// Receives bytes, and the descriptors that they carry, close-on-exec. If some of these were lost
// (-EMSGSIZE), all that came are closed.
ssize_t receive_descriptors(int socket, uint8_t* memory, size_t size, std::vector<Descriptor>& out);
// Whether the process at the other end of a Unix socket runs for the same user: 1, 0 or negative
// errno.
int same_user(int socket);

}  // namespace marketplace::engine
