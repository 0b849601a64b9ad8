// What is known of one connection, for somebody who looks. Nothing is counted for it: the kernel is
// asked.
#pragma once

#include "layout.h"

namespace marketplace::engine {

// All but why it is held. Negative errno on failure: a Unix socket has no TCP_INFO.
int read_connection_info(int socket, ConnectionInfo& out);

}  // namespace marketplace::engine
