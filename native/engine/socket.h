// The system calls on one TCP socket. Every function returns negative errno on failure, retries
// after EINTR, and leaves policy to its caller.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>

#include "address.h"
#include "descriptor.h"
#include "options.h"

namespace marketplace::engine {

// A listening socket: non-blocking, close-on-exec. What it accepts inherits its options.
int open_listener(const Address& address, const ListenOptions& options, Descriptor& out);
// The same for TCP, but that it does not listen yet.
int bind_listener(const Address& address, const ListenOptions& options, Descriptor& out);
// A socket that is connecting: 0 when the attempt has begun. `bind_failed` tells the errors of the
// local address from those of the remote one.
int open_connection(const Address& address, const ConnectOptions& options, Descriptor& out,
                    bool& bind_failed);
// What the kernel has made of the options: buffers are twice what was asked for, or less.
int read_options(int socket, SocketOptions& out);

// Those of a socket that is there already.
int apply_options(int socket, bool unix_domain, const SocketOptions& options);
int begin_to_listen(int socket, int backlog);

// What the connections of a Unix socket do not inherit from their listener.
int set_buffer_sizes(int socket, const SocketOptions& options);

int set_no_delay(int socket, bool on);
// With an idle time also the other two: seconds between probes, and how many.
int set_keep_alive(int socket, bool on, int idle_s, int interval_s, int count);
// IP_TOS, or the traffic class of IPv6.
int set_type_of_service(int socket, int value);
int type_of_service(int socket);

int accept_socket(int listener, Descriptor& out, Address& peer);

// Kept open so that one descriptor can be had when there are no others.
class SpareDescriptor {
 public:
  // 0 or negative errno.
  int open();
  // Ends a connection that waits at the listener. False if none was.
  bool shed_connection(int listener);
  // The same for many. How many they may be at most grows with `shortages`, how often in a row
  // descriptors were short: in a short shortage few are sent away, as the others will be served
  // soon; in a long one all, as they would hang otherwise.
  void shed_connections(int listener, uint8_t& shortages);

 private:
  Descriptor descriptor_;
};
ssize_t receive_into(int socket, uint8_t* memory, size_t size);
ssize_t send_pieces(int socket, const iovec* pieces, int count);
// A further descriptor of the same socket; or negative errno.
int duplicate(int socket);
int shutdown_output(int socket);

// The error that the kernel holds for this socket, which forgets it.
int pending_error(int socket);
int local_address(int socket, Address& out);
// Also of a connection that was reset.
int peer_address(int socket, Address& out);

// Makes the close of this descriptor an RST.
int reset_on_close(int socket);
// Whether there is something to read: 1, 0 for FIN, or negative errno. Takes nothing.
int peek_input(int socket);
// Throws away some of what has arrived: unread bytes would turn the close into an RST, which can
// destroy what the peer has not read of our output.
ssize_t discard_input(int socket, bool unix_domain);

// Whether bytes have arrived that were not read.
bool input_waits(int socket);

int64_t monotonic_ms();

}  // namespace marketplace::engine
