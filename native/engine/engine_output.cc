// Sending: this turn's pieces in one gathered write per connection, the rest from the queue, then
// FIN and close in their order.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

// System calls per connection and turn when a queue drains into a kernel that takes everything.
constexpr int sends_max = 8;
// Up to here a copy costs little more than a loan (0.5 us per KiB against 0.8 us), and lets go of
// the rest of the caller's buffer.
constexpr size_t copy_max = 4 * 1024;

// The kernel takes nothing at present, for lack of room or of memory, but may do so later.
bool passes(ssize_t error) {
  return error == -EAGAIN || error == -ENOBUFS || error == -EINTR;
}

}  // namespace

void Engine::touch(Traffic& socket) {
  if (!socket.touched.linked) touched_.push_back(socket);
}

void Engine::write(uint32_t id, const uint8_t* data, size_t length, Source source) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr || length == 0) return;
  // After a failure the bytes cannot arrive, and `closed` will say so. After FIN or close the
  // caller is wrong; what it was promised for the bytes before that still holds.
  if (!connection->halves.takes_output()) return;
  append_piece(*connection, Piece{data, length, Connection::no_piece, source});
  counters_of(*connection).writes++;
  touch(*connection);
}

// To the list of this turn.
void Engine::append_piece(Connection& connection, const Piece& added) {
  const uint32_t piece = static_cast<uint32_t>(pieces_.size());
  pieces_.push_back(added);
  if (connection.piece_first == Connection::no_piece) {
    connection.piece_first = piece;
  } else {
    pieces_[connection.piece_last].next = piece;
  }
  connection.piece_last = piece;
}

void Engine::shutdown(uint32_t id) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr || connection->halves.output() != Output::open) return;
  change(*connection, Change::shut);
  touch(*connection);
}

void Engine::report_writes(uint32_t id, bool on) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection != nullptr) connection->report_writes = on;
}

void Engine::flush() {
  if (!idle_.empty()) idle_.update(monotonic_ms());
  const bool batch = backend_->batches(touched_.size());
  while (Traffic* socket = touched_.pop_front()) {
    if (socket->kind == Kind::datagrams) {
      flush_datagrams(static_cast<UdpSocket&>(*socket));
      continue;
    }
    Connection& connection = static_cast<Connection&>(*socket);
    if (connection.tls != nullptr) {
      flush_sealed(connection, batch);
      continue;
    }
    if (batch && queue_sending(connection)) continue;
    flush_connection(connection);
  }
  if (!sendings_.empty()) finish_sendings();
  pieces_.clear();
  sealed_.clear();
  // Here, when nothing is half done for any connection.
  for (size_t i = 0; i < changed_.size(); i++) check_total(*changed_[i]);
  if (alarm_stale_) set_alarm();
  backend_->settle(*this);
}

void Engine::flush_connection(Connection& connection) {
  if (connection.piece_first != Connection::no_piece) {
    const bool alive = connection.halves.connecting() || !connection.output.empty()
                           ? queue_pieces(connection, connection.piece_first, 0)
                           : send_pieces(connection, connection.piece_first);
    if (!alive) return;
  }
  pieces_done(connection);
}

void Engine::pieces_done(Connection& connection) {
  connection.piece_first = Connection::no_piece;
  connection.piece_last = Connection::no_piece;
  output_changed(connection);
}

// The first of the pieces as one send; `next` is where the following one begins.
int Engine::gather(uint32_t piece, iovec* vector, uint32_t& next, size_t& total) const {
  int count = 0;
  total = 0;
  for (next = piece; next != Connection::no_piece && count < iov_max;) {
    const Piece& p = pieces_[next];
    vector[count++] = iovec{const_cast<uint8_t*>(p.data), p.length};
    total += p.length;
    next = p.next;
  }
  return count;
}

// Hands a send to the backend, if this connection's output begins with one.
bool Engine::queue_sending(Connection& connection) {
  if (connection.piece_first == Connection::no_piece) return false;
  if (connection.halves.connecting() || !connection.output.empty()) return false;
  iovec vector[iov_max];
  Sending sending{connection.key, 0, 0};
  const int count = gather(connection.piece_first, vector, sending.next, sending.total);
  backend_->queue_send(connection, vector, count);
  sendings_.push_back(sending);
  return true;
}

void Engine::finish_sendings() {
  const ssize_t* results = backend_->send_queued();
  for (size_t i = 0; i < sendings_.size(); i++) {
    const Sending sending = sendings_[i];
    Connection* connection = sockets_.find_key<Connection>(sending.key);
    if (connection == nullptr) continue;
    const Taken taken =
        pieces_taken(*connection, connection->piece_first, sending.total, results[i]);
    if (taken == Taken::lost) continue;
    if (taken == Taken::all && !send_pieces(*connection, sending.next)) continue;
    pieces_done(*connection);
  }
  sendings_.clear();
}

// Returns whether the connection is still there, as do the functions below.
bool Engine::send_pieces(Connection& connection, uint32_t piece) {
  while (piece != Connection::no_piece) {
    iovec vector[iov_max];
    size_t total = 0;
    uint32_t next = piece;
    const int count = gather(piece, vector, next, total);
    const Taken taken =
        pieces_taken(connection, piece, total, backend_->send(connection, vector, count));
    if (taken != Taken::all) return taken != Taken::lost;
    piece = next;
  }
  return true;
}

// A send of `total` bytes from `piece` on is over. What the kernel did not take is queued, with all
// that follows it.
Engine::Taken Engine::pieces_taken(Connection& connection, uint32_t piece, size_t total,
                                   ssize_t result) {
  if (result < 0 && !passes(result)) {
    return send_failed(connection, static_cast<int>(result)) ? Taken::some : Taken::lost;
  }
  size_t taken = result < 0 ? 0 : static_cast<size_t>(result);
  sent(connection, taken);
  if (taken == total) return Taken::all;
  while (taken >= pieces_[piece].length) {
    taken -= pieces_[piece].length;
    piece = pieces_[piece].next;
  }
  return queue_pieces(connection, piece, taken) ? Taken::some : Taken::lost;
}

bool Engine::queue_pieces(Connection& connection, uint32_t piece, size_t skip) {
  while (piece != Connection::no_piece) {
    const Piece& p = pieces_[piece];
    if (!queue_bytes(connection, p.data + skip, p.length - skip, p.source)) {
      finish(connection, -ENOMEM, Call::write);
      return false;
    }
    skip = 0;
    piece = p.next;
  }
  gauge(connection);
  const Limits& limits = connection.account->limits;
  if (connection.queued_bytes <= limits.queued_max) return true;
  if (limits.overflow_pauses) {
    if (connection.halves.minds_output()) change(connection, Change::filled);
    return true;
  }
  finish(connection, -ENOBUFS, Call::write);
  return false;
}

bool Engine::queue_bytes(Connection& connection, const uint8_t* data, size_t length,
                         Source source) {
  if (length > copy_max && source != no_source && lender_ != nullptr) {
    const Loan loan = lender_->lend(source, length);
    if (loan != no_loan) {
      if (connection.output.refer(data, length, *lender_, loan)) return true;
      lender_->give_back(loan);
      return false;
    }
  }
  return connection.output.append(data, length);
}

const std::shared_ptr<Account>& Engine::account_or_own(
    const std::shared_ptr<Account>& account) const {
  return account == nullptr ? account_ : account;
}

// Of the socket's account, to be changed: the host will be told.
Counters& Engine::counters_of(const Traffic& socket) {
  return counters_of(socket.account);
}

Counters& Engine::counters_of(const std::shared_ptr<Account>& account) {
  if (!account->changed) {
    account->changed = true;
    changed_.push_back(account);
  }
  return account->counters;
}

// The limit of all queues of an account together.
void Engine::check_total(Account& account) {
  const Limits& limits = account.limits;
  const size_t queued_bytes = account.counters.queued_bytes;
  if (queued_bytes > limits.queued_total_max) {
    if (limits.overflow_pauses) {
      account.throttles = true;
    } else {
      end_longest_queues(account);
    }
  } else if (account.throttles && queued_bytes <= limits.queued_total_max / 2) {
    account.throttles = false;
    while (!account.throttled.empty()) {
      Traffic& socket = *account.throttled.first();
      change(socket, Change::unthrottled);
      update_interest(socket);
    }
  }
}

// Whoever has the most waiting takes least of what it is sent. Looks at all connections, but each
// time ends one or more of them.
void Engine::end_longest_queues(Account& account) {
  std::vector<std::pair<size_t, Key>> queues;
  sockets_.each<Connection>([&queues, &account](const Connection& connection) {
    if (connection.queued_bytes == 0 || connection.account.get() != &account) return;
    queues.emplace_back(connection.queued_bytes, connection.key);
  });
  std::make_heap(queues.begin(), queues.end());
  while (account.counters.queued_bytes > account.limits.queued_total_max && !queues.empty()) {
    std::pop_heap(queues.begin(), queues.end());
    Connection* connection = sockets_.find_key<Connection>(queues.back().second);
    finish(*connection, -ENOBUFS, Call::write);
    queues.pop_back();
  }
}

void Engine::sendable(Socket& socket) {
  if (socket.kind == Kind::datagrams) {
    UdpSocket& to = static_cast<UdpSocket&>(socket);
    send_queued(to);
    return output_changed(to);
  }
  Connection& connection = static_cast<Connection&>(socket);
  if (send_queue(connection)) output_changed(connection);
}

bool Engine::send_queue(Connection& connection) {
  if (connection.output.empty()) return true;
  size_t total = 0;
  for (int i = 0; i < sends_max && !connection.output.empty(); i++) {
    iovec vector[iov_max];
    const int count = connection.output.gather(vector, iov_max);
    const ssize_t result = count < 0 ? count : backend_->send(connection, vector, count);
    if (passes(result)) break;
    if (result < 0) {
      sent(connection, total);
      return send_failed(connection, static_cast<int>(result));
    }
    connection.output.consume(static_cast<size_t>(result));
    total += static_cast<size_t>(result);
  }
  sent(connection, total);
  gauge(connection);
  return true;
}

void Engine::sent(Connection& connection, size_t length) {
  if (length == 0) return;
  // The host counts its own bytes, of which an encrypted record has none before all of it has gone.
  if (connection.tls != nullptr) length = connection.tls->taken(length);
  counters_of(connection).bytes_out += length;
  connection.idle.sent = idle_.now();
  if (!connection.report_writes) return;
  // A record's word is 31 bits wide; more than that at once takes several records.
  constexpr size_t word_max = INT32_MAX;
  for (; length > 0; length -= std::min(length, word_max)) {
    report(Record::written(connection.id, static_cast<uint32_t>(std::min(length, word_max))));
  }
}

// A peer that is gone may have sent something before: that is read first, and its end is reported
// with this error. Other errors, and connections that nobody reads, end here.
bool Engine::send_failed(Connection& connection, int error) {
  const bool gone = error == -EPIPE || error == -ECONNRESET;
  if (!gone || !connection.halves.awaits_input()) {
    finish(connection, error, Call::write);
    return false;
  }
  change(connection, Change::send_failed);
  connection.halves.set_error(error);
  if (connection.tls != nullptr) connection.tls->mute();
  connection.output.clear();
  connection.piece_first = Connection::no_piece;
  connection.piece_last = Connection::no_piece;
  gauge(connection);
  update_interest(connection);
  return true;
}

// The output is shorter or longer than it was, or something was asked for that waits for its end.
void Engine::output_changed(Connection& connection) {
  const Halves& halves = connection.halves;
  if (halves.output() == Output::failed) {
    // Paused or closed meanwhile: nobody will read what may be left.
    if (!halves.awaits_input()) return finish(connection, halves.error(), Call::write);
    return update_interest(connection);
  }
  if (connection.output.empty() && !end_output(connection)) return;
  if (halves.closing()) limit_close(connection);
  update_interest(connection);
}

// All was sent: FIN and the end follow, where they are wanted. Returns whether the connection is
// still there.
bool Engine::end_output(Connection& connection) {
  const Halves& halves = connection.halves;
  const bool closing = halves.closing();
  const bool input_ended = halves.input() == Input::ended;
  if (!halves.connecting()) {
    const int socket = connection.descriptor.get();
    // Who shares the kernel's socket goes on with it.
    const bool leaving = closing && !connection.shared;
    if (leaving && halves.output() == Output::open) change(connection, Change::shut);
    // When both directions end here, closing the descriptor sends the FIN.
    if (halves.output() == Output::shutting && !(closing && input_ended)) {
      const int result = shutdown_output(socket);
      // The connection is lost: receiving will say how, unless nobody receives.
      if (result < 0 && !closing && !halves.awaits_input()) {
        const int error = pending_error(socket);
        finish(connection, error < 0 ? error : result, Call::shutdown);
        return false;
      }
      change(connection, Change::shut_sent);
    }
    if (leaving && !input_ended) {
      static_cast<void>(discard_input(socket, connection.unix_domain));
    }
  }
  if (!closing && !(halves.output() == Output::ended && input_ended)) return true;
  finish(connection, 0, Call::none);
  return false;
}

// The length of a socket's queue is another one.
void Engine::set_queued(Traffic& socket, size_t bytes) {
  if (bytes == socket.queued_bytes) return;
  uint64_t& queued_bytes = counters_of(socket).queued_bytes;
  queued_bytes = queued_bytes + bytes - socket.queued_bytes;
  queued_bytes_ = queued_bytes_ + bytes - socket.queued_bytes;
  socket.queued_bytes = bytes;
}

// Whatever changes the length of a connection's queue ends here, and looks at what is wanted
// afterwards.
void Engine::gauge(Connection& connection) {
  const size_t size = connection.output.size();
  set_queued(connection, size);
  const size_t most = connection.account->limits.queued_max;
  if (connection.halves.held(by_own_output) && size <= most / 2) {
    change(connection, Change::drained);
  }
  set_gauge(connection.id, static_cast<double>(size));
}

void Engine::set_gauge(uint32_t id, double value) {
  const uint32_t index = index_of(id);
  if (index < gauge_count_) gauges_[index] = value;
}

}  // namespace marketplace::engine
