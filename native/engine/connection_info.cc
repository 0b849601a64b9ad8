// What the kernel knows of a TCP connection. Linux's own header: that of the C library knows less.
#include "connection_info.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace marketplace::engine {

int read_connection_info(int socket, ConnectionInfo& out) {
  // An older kernel fills less of it.
  tcp_info info = {};
  socklen_t length = sizeof(info);
  if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return -errno;
  out.round_trip = info.tcpi_rtt;
  out.round_trip_variance = info.tcpi_rttvar;
  out.lowest_round_trip = info.tcpi_min_rtt;
  out.retransmits = info.tcpi_total_retrans;
  out.lost = info.tcpi_lost;
  out.unacknowledged = info.tcpi_unacked;
  out.congestion_window = info.tcpi_snd_cwnd;
  out.segment_size = info.tcpi_snd_mss;
  out.bytes_sent = static_cast<double>(info.tcpi_bytes_sent);
  out.bytes_acknowledged = static_cast<double>(info.tcpi_bytes_acked);
  out.bytes_received = static_cast<double>(info.tcpi_bytes_received);
  out.bytes_unsent = info.tcpi_notsent_bytes;
  out.since_sent = info.tcpi_last_data_sent;
  out.since_received = info.tcpi_last_data_recv;
  out.delivery_rate = static_cast<double>(info.tcpi_delivery_rate);
  return 0;
}

}  // namespace marketplace::engine
