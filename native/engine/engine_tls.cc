// TLS between a connection's bytes and the host's: when it decrypts and encrypts, what waits, and
// what becomes of a connection whose TLS fails. How it is done is in tls.h.
//
// What is received goes to memory of the engine's, and from there, decrypted, to slabs; from where
// on it is as if it had come so. What the host writes is encrypted at the begin of `flush`, and the
// pieces of this turn are replaced by what has become of them.
#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

// Short pieces of one turn are put together up to here, which is what a record of TLS holds.
constexpr size_t gathered_max = 16 * 1024;
// A piece of this length goes alone, without a copy.
constexpr size_t alone_min = 4 * 1024;
// What a peer may make TLS answer (to wishes for new keys, or for a new handshake) without sending
// anything for the host, or without taking the answers: beyond it, it does so for no good reason.
constexpr size_t answers_max = 64 * 1024;

}  // namespace

// What TLS has to send becomes output of this turn.
class Engine::PieceSink final : public TlsSink {
 public:
  PieceSink(Engine& engine, Connection& connection, bool touches)
      : engine_(engine), connection_(connection), touches_(touches) {}

  void sealed(const uint8_t* data, size_t length) override {
    engine_.append_sealed(connection_, data, length);
    length_ += length;
    if (touches_) engine_.touch(connection_);
  }
  size_t length() const { return length_; }

 private:
  Engine& engine_;
  Connection& connection_;
  // Otherwise `flush` is at work on it.
  const bool touches_;
  size_t length_ = 0;
};

void Engine::append_sealed(Connection& connection, const uint8_t* data, size_t length) {
  const uint8_t* place = sealed_.put(data, length);
  if (connection.piece_last != Connection::no_piece) {
    Piece& last = pieces_[connection.piece_last];
    if (last.sealed && last.data + last.length == place) {
      last.length += length;
      return;
    }
  }
  append_piece(connection, Piece{place, length, Connection::no_piece, no_source, true});
}

int Engine::start_tls(uint32_t id, std::shared_ptr<const TlsContext> context,
                      const TlsTarget& target) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr || !connection->halves.established()) return -ENOTCONN;
  // Both are for the host to see to: what was received or written since cannot be told apart.
  if (connection->tls != nullptr || connection->piece_first != Connection::no_piece)
    return -EISCONN;
  if (connection->halves.input() == Input::ended) return -ENOTCONN;
  std::unique_ptr<Tls> tls = Tls::open(std::move(context), target);
  if (tls == nullptr) return -ENOMEM;
  if (sealed_input_ == nullptr) {
    sealed_input_ = std::make_unique_for_overwrite<uint8_t[]>(sealed_input_size);
    gathered_ = std::make_unique_for_overwrite<uint8_t[]>(gathered_max);
  }
  tls->follow(connection->output.size());
  // The host's end was before: the peer will say what it thinks of that.
  if (connection->halves.output() != Output::open) tls->mute();
  connection->tls = std::move(tls);
  return 0;
}

void Engine::prepend_tls(uint32_t id, const uint8_t* data, size_t length) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection != nullptr && connection->tls != nullptr) connection->tls->prepend(data, length);
}

bool Engine::answer_tls(uint32_t id, SSL_CTX* context) {
  Connection* connection = sockets_.find<Connection>(id);
  // It has ended meanwhile, which is told otherwise.
  if (connection == nullptr || connection->tls == nullptr) return true;
  Tls& tls = *connection->tls;
  if (!tls.asking()) return true;
  if (context != nullptr) return tls.use(context);
  tls.proceed();
  return true;
}

void Engine::secure(uint32_t id) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection != nullptr && connection->tls != nullptr) handshakes_.push_back(connection->key);
}

const Tls* Engine::tls(uint32_t id) {
  Connection* connection = sockets_.find<Connection>(id);
  return connection == nullptr ? nullptr : connection->tls.get();
}

// Returns whether to go on receiving, as `received` does.
bool Engine::receive_sealed(Connection& connection, const Memory& memory, uint32_t length) {
  connection.tls->supply(memory.base, length);
  return decrypt(connection);
}

bool Engine::decrypt(Connection& connection) {
  Tls& tls = *connection.tls;
  if (tls.failed()) return false;
  if (!tls.secured() && !shake_hands(connection)) return false;
  if (!tls.secured()) {
    free_stuck(connection);
    return true;
  }
  PieceSink sink(*this, connection, true);
  for (;;) {
    const Memory memory =
        records_.size() < options_.records_max ? place_input(connection) : Memory{};
    if (memory.size == 0) {
      if (slabs_.empty()) lack_slabs();
      get_stuck(connection, stuck_);
      return false;
    }
    size_t length = 0;
    const Tls::Step step = tls.read(sink, memory.base, memory.size, length);
    if (length > 0) {
      deliver(connection, memory, static_cast<uint32_t>(length));
      // While the peer doesn't take them, a byte in between makes no answer less.
      if (connection.output.empty()) connection.answers = 0;
    }
    if (step == Tls::Step::bytes) continue;
    if (tls.take_session()) report(Record::tls_session(connection.id));
    connection.answers += sink.length();
    if (step == Tls::Step::wants_input && connection.answers <= answers_max) {
      free_stuck(connection);
      return true;
    }
    if (step != Tls::Step::ended) {
      tls_failed(connection);
    } else if (!report_kept(connection)) {
      get_stuck(connection, stuck_);
    } else {
      input_over(connection);
    }
    return false;
  }
}

// False if nothing can come of this connection at present: it waits, or has ended.
bool Engine::shake_hands(Connection& connection) {
  Tls& tls = *connection.tls;
  if (tls.asking()) {
    tls.keep_rest();
    return false;
  }
  if (handshakes_left_ == 0) {
    get_stuck(connection, handshakes_);
    return false;
  }
  handshakes_left_--;
  PieceSink sink(*this, connection, true);
  switch (tls.handshake(sink)) {
    case Tls::Step::wants_input:
      return true;
    case Tls::Step::done:
      report(Record::secured(connection.id));
      return true;
    case Tls::Step::asks:
      hold_stuck(connection);
      report(Record::tls_asks(connection.id));
      return false;
    default:
      tls_failed(connection);
      return false;
  }
}

// What came and was not decrypted is kept, and nothing else is received.
void Engine::hold_stuck(Connection& connection) {
  connection.tls->keep_rest();
  if (connection.halves.held(by_tls)) return;
  change(connection, Change::tls_stuck);
  update_interest(connection);
}

void Engine::get_stuck(Connection& connection, std::vector<Key>& list) {
  hold_stuck(connection);
  list.push_back(connection.key);
}

void Engine::free_stuck(Connection& connection) {
  if (!connection.halves.held(by_tls)) return;
  change(connection, Change::tls_freed);
  update_interest(connection);
}

// Those that wait for a turn; before anything is received in it.
void Engine::go_on_with_tls() {
  if (!slabs_.empty()) go_on(stuck_, static_cast<uint32_t>(stuck_.size()));
  go_on(handshakes_, options_.handshakes_max);
}

void Engine::go_on(std::vector<Key>& list, uint32_t most) {
  const size_t count = std::min<size_t>(most, list.size());
  // They may come to wait again, behind the others.
  const std::vector<Key> now(list.begin(), list.begin() + static_cast<ptrdiff_t>(count));
  list.erase(list.begin(), list.begin() + static_cast<ptrdiff_t>(count));
  for (const Key key : now) {
    Connection* connection = sockets_.find_key<Connection>(key);
    if (connection == nullptr || connection->tls == nullptr) continue;
    const Halves& halves = connection->halves;
    // Closed meanwhile: what came is for nobody.
    if (!halves.established() || halves.input() == Input::ended) continue;
    decrypt(*connection);
  }
}

// The socket's end, of which TLS has said nothing.
bool Engine::tls_ended(Connection& connection) {
  if (!connection.tls->secured()) {
    // In order: who goes before a handshake is over has lost nothing.
    end(connection, -ECONNRESET, Call::tls);
    return false;
  }
  if (!report_kept(connection)) return false;
  report(Record::tls_cut(connection.id));
  input_over(connection);
  return false;
}

// The connection ends. OpenSSL's last word to the peer goes out first, as far as the kernel takes
// it: a reset would take it away again.
void Engine::tls_failed(Connection& connection) {
  const Tls& tls = *connection.tls;
  report(Record::tls_failed(connection.id, tls.reason(), static_cast<uint32_t>(tls.verify())));
  if (connection.output.empty()) {
    uint32_t next = connection.piece_first;
    while (next != Connection::no_piece) {
      iovec vector[iov_max];
      size_t total = 0;
      const int count = gather(next, vector, next, total);
      if (backend_->send(connection, vector, count) < static_cast<ssize_t>(total)) break;
    }
  }
  const int socket = connection.descriptor.get();
  static_cast<void>(shutdown_output(socket));
  static_cast<void>(discard_input(socket, connection.unix_domain));
  end(connection, -EPROTO, Call::tls);
}

void Engine::flush_sealed(Connection& connection, bool batch) {
  const Arena::Mark begin = sealed_.end();
  if (!seal(connection)) return;
  if (batch && queue_sending(connection)) return;
  flush_connection(connection);
  // It was sent, or copied to the queue.
  sealed_.rewind(begin);
}

// In `flush`. Returns whether the connection is still there.
bool Engine::seal(Connection& connection) {
  Tls& tls = *connection.tls;
  PieceSink sink(*this, connection, false);
  if (connection.piece_first != Connection::no_piece && !seal_pieces(connection, sink))
    return false;
  const Halves& halves = connection.halves;
  const Output output = halves.output();
  if (output == Output::shutting || (output == Output::open && halves.closing())) tls.shut(sink);
  return true;
}

// The pieces of this turn become those that they are encrypted to.
bool Engine::seal_pieces(Connection& connection, TlsSink& sink) {
  Tls& tls = *connection.tls;
  uint32_t piece = std::exchange(connection.piece_first, Connection::no_piece);
  connection.piece_last = Connection::no_piece;
  size_t gathered = 0;
  const auto write = [&](const uint8_t* data, size_t length) {
    return tls.secured() && tls.write(sink, data, length);
  };
  const auto write_gathered = [&] {
    return gathered == 0 || write(gathered_.get(), std::exchange(gathered, 0));
  };
  bool right = true;
  while (right && piece != Connection::no_piece) {
    // A copy: there will be more of them.
    const Piece p = pieces_[piece];
    piece = p.next;
    if (p.sealed) {
      right = write_gathered();
      append_piece(connection, Piece{p.data, p.length, Connection::no_piece, no_source, true});
    } else if (p.length >= alone_min || (gathered == 0 && piece == Connection::no_piece)) {
      right = write_gathered() && write(p.data, p.length);
    } else {
      if (gathered + p.length > gathered_max) right = write_gathered();
      std::memcpy(gathered_.get() + gathered, p.data, p.length);
      gathered += p.length;
    }
  }
  right = right && write_gathered();
  if (!right) tls_failed(connection);
  return right;
}

}  // namespace marketplace::engine
