// The engine's life and bookkeeping: ids, records, deadlines, the turn. Receiving, sending and
// accepting have files of their own.
#include "engine.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "connection_info.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

Pace& pace_of(Traffic& held) {
  return *static_cast<Connection&>(held).pace;
}

}  // namespace

Engine::Engine(std::unique_ptr<Backend> backend, const Options& options)
    : backend_(std::move(backend)),
      options_(options),
      frame_keep_max_(options.frame_keep_max),
      account_(std::make_shared<Account>(options)) {}

Engine::~Engine() {
  sockets_.each<Connection>([](Connection& connection) {
    if (connection.output.empty() || connection.shared) return;
    static_cast<void>(reset_on_close(connection.descriptor.get()));
  });
}

int Engine::open() {
  const int spared = spare_.open();
  if (spared < 0) return spared;
  if (getrandom(&seed_, sizeof(seed_), 0) != sizeof(seed_)) return -errno;
  return backend_->open();
}

int32_t Engine::listen(const Address& address, const ListenOptions& options,
                       const std::shared_ptr<Account>& account) {
  Descriptor descriptor;
  const int result = open_listener(address, options, descriptor);
  if (result < 0) return result;
  Listener* listener = sockets_.insert<Listener>();
  if (listener == nullptr) return -ENOMEM;
  listener->descriptor = std::move(descriptor);
  listener->unix_domain = address.is_unix();
  if (address.file() != nullptr) listener->file.own(address.file());
  return start_listener(*listener, options, account);
}

int32_t Engine::start_listener(Listener& listener, const ListenOptions& options,
                               const std::shared_ptr<Account>& account) {
  listener.account = account_or_own(account);
  listener.options = options.socket;
  listener.pause_accepted = options.pause_accepted;
  const PrefixTable::Seed seed{seed_[0], seed_[1] ^ listener.key};
  listener.admission = std::make_unique<Admission>(options.limits, seed);
  guard(listener);
  const uint32_t id = listener.id;
  update_listener(listener);
  backend_->settle(*this);
  return static_cast<int32_t>(id);
}

void Engine::close_listener(uint32_t id) {
  Listener* listener = sockets_.find<Listener>(id);
  if (listener == nullptr) return;
  backend_->forget(*listener);
  forget_descriptor(*listener);
  if (listener->rest.linked) resting_.remove(*listener);
  if (listener->dropping.linked) dropping_.remove(*listener);
  if (listener->guarded.linked) guarded_.remove(*listener);
  if (listener->overloaded) counters_of(listener->account).listeners_paused--;
  // What it has not taken is for others, now.
  if (listener->inlet != nullptr) {
    listener->inlet->release();
    std::erase(borrowed_, id);
    // The connections that it has had from there are counted until they end.
    if (listener->inlet->live() > 0) parted_.emplace(listener->key, std::move(listener->inlet));
  }
  // Connections that it has accepted may be on their way to the host, under its id.
  sockets_.retire(*listener, reported_);
}

int32_t Engine::connect(const Address& address, const ConnectOptions& options, bool& bind_failed,
                        const std::shared_ptr<Account>& account) {
  Descriptor descriptor;
  const int result = open_connection(address, options, descriptor, bind_failed);
  if (result < 0) return result;
  Connection* connection = sockets_.insert<Connection>();
  if (connection == nullptr) return -ENOMEM;
  connection->descriptor = std::move(descriptor);
  connection->account = account_or_own(account);
  connection->halves = Halves(Stage::connecting);
  connection->unix_domain = address.is_unix();
  const uint32_t id = connection->id;
  gauge(*connection);
  update_interest(*connection);
  // It may end here, if the kernel can't watch it: `closed` follows.
  backend_->settle(*this);
  return static_cast<int32_t>(id);
}

void Engine::connected(Socket& socket, int result) {
  Connection& connection = static_cast<Connection&>(socket);
  if (result < 0) return finish(connection, result, Call::connect);
  change(connection, Change::connected);
  report(Record::connected(connection.id));
  if (send_queue(connection)) output_changed(connection);
}

int Engine::local(uint32_t id, Address& out) {
  Socket* socket = sockets_.find(id);
  return socket == nullptr ? -ENOTCONN : local_address(socket->descriptor.get(), out);
}

int Engine::remote(uint32_t id, Address& out) {
  Connection* connection = sockets_.find<Connection>(id);
  return connection == nullptr ? -ENOTCONN : peer_address(connection->descriptor.get(), out);
}

int Engine::options(uint32_t id, SocketOptions& out) {
  Socket* socket = sockets_.find(id);
  return socket == nullptr ? -ENOTCONN : read_options(socket->descriptor.get(), out);
}

void Engine::close(uint32_t id) {
  Socket* socket = sockets_.find(id);
  if (socket == nullptr || socket->kind == Kind::listener) return;
  Traffic& closed = static_cast<Traffic&>(*socket);
  if (closed.halves.closing()) return;
  change(closed, Change::closed);
  // The output that precedes this command is not sent yet: `flush` goes on from here.
  touch(closed);
}

void Engine::abort(uint32_t id) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return;
  static_cast<void>(reset_on_close(connection->descriptor.get()));
  finish(*connection, 0, Call::none);
}

void Engine::fail_write(uint32_t id, int error) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection != nullptr) finish(*connection, error, Call::write);
}

void Engine::pause(uint32_t id, bool paused) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return;
  const Halves& halves = connection->halves;
  // After either there is nothing to read.
  if (halves.closing() || halves.input() == Input::ended) return;
  if (halves.held(by_host) == paused) return;
  change(*connection, paused ? Change::paused : Change::resumed);
  touch(*connection);
}

int Engine::turn() {
  slabs_short_ = false;
  small_.lacking = false;
  tiny_.lacking = false;
  starving_ = slabs_.empty();
  if (!idle_.empty()) idle_.update(monotonic_ms());
  sockets_.recycle(read());
  sender_.length = 0;
  if (!spilling_.empty()) spill_again();
  handshakes_left_ = options_.handshakes_max;
  if (!handshakes_.empty() || !stuck_.empty()) go_on_with_tls();
  // What the last turn had no room for.
  if (!starving_ && !place_arrived() && slabs_.empty()) lack_slabs();
  const int result = backend_->turn(*this);
  report_drops();
  if (alarm_rang_) expire_idle();
  if (alarm_rang_ || alarm_stale_) set_alarm();
  alarm_rang_ = false;
  return result;
}

Socket* Engine::find(Key key) {
  return sockets_.find_key(key);
}

bool Engine::ready_for_more() const {
  return !slabs_short_ && records_.size() < options_.records_max;
}

void Engine::report(const Record& record) {
  records_.push_back(record);
  reported_++;
}

// The one way in which a socket's state changes: so that it is in the list of those that wait
// exactly while it waits.
void Engine::change(Traffic& socket, Change what) {
  const uint8_t before = socket.halves.held();
  socket.halves.apply(what);
  const uint8_t other = before ^ socket.halves.held();
  for (const auto& [reason, list] : {std::pair{by_slabs, &starved_},
                                     {by_total_output, &socket.account->throttled},
                                     {by_rate, &slowed_}}) {
    if ((other & reason) == 0) continue;
    (before & reason) == 0 ? list->push_back(socket) : list->remove(socket);
  }
}

// Of what is not read from, hang-ups are wanted, once: see Engine::hung_up. So a socket for
// datagrams is always watched: to be watched anew might fail.
void Engine::update_interest(Traffic& socket) {
  const Halves& halves = socket.halves;
  if (halves.connecting()) return backend_->want(socket, want_connect);
  uint8_t wanted = want_nothing;
  if (halves.reads()) wanted |= want_receive;
  if (socket.queued_bytes > 0) wanted |= want_send;
  const bool stream = socket.kind == Kind::connection;
  const bool input_ended = halves.input() == Input::ended;
  // A peer that is blocked in sending would not read what we still have for it.
  if (stream && halves.closing() && !socket.shared && !input_ended) wanted |= want_discard;
  // A Unix socket hangs up when its peer has closed, TCP only when it is reset: after FIN, both
  // find that out by sending.
  const bool known = halves.stage() == Stage::hung_up || (socket.unix_domain && input_ended);
  if (wanted == want_nothing && !known) wanted = want_hangup;
  backend_->want(socket, wanted);
}

// A close waits for what is queued, but not for ever.
void Engine::limit_close(Traffic& socket) {
  if (socket.deadline.linked) return;
  Account& account = *socket.account;
  socket.deadline_ms = monotonic_ms() + account.limits.close_timeout_ms;
  if (account.closing.empty()) closing_.push_back(account);
  account.closing.push_back(socket);
  set_alarm();
}

// The time limit has come.
void Engine::close_late(Traffic& socket) {
  if (socket.kind == Kind::connection) {
    return finish(static_cast<Connection&>(socket), -ETIMEDOUT, Call::write);
  }
  fail_queued(static_cast<UdpSocket&>(socket), -ECANCELED);
  end(socket, 0, Call::none);
}

// An end with an error is no end that the peer may take for one of the stream.
void Engine::finish(Connection& connection, int error, Call call) {
  // Fails for a socket that has been reset already, which is as good.
  if (error != 0 && !connection.shared) {
    static_cast<void>(reset_on_close(connection.descriptor.get()));
  }
  end(connection, error, call);
}

// Whether the kernel has not taken all that the host wrote; if TLS has failed, perhaps. What TLS
// itself has to say to the peer, such as a ticket or its last word, is none of that.
bool Engine::loses_output(const Traffic& socket, Call call) const {
  if (socket.kind != Kind::connection) return socket.queued_bytes > 0;
  const Connection& connection = static_cast<const Connection&>(socket);
  if (connection.tls == nullptr) {
    return connection.queued_bytes > 0 || connection.piece_first != Connection::no_piece ||
           connection.halves.output() == Output::failed;
  }
  if (call == Call::tls || connection.tls->unsent()) return true;
  uint32_t piece = connection.piece_first;
  while (piece != Connection::no_piece && pieces_[piece].sealed) piece = pieces_[piece].next;
  return piece != Connection::no_piece;
}

void Engine::left_parted(Key listener) {
  const auto found = parted_.find(listener);
  if (found == parted_.end()) return;
  found->second->left();
  if (found->second->live() == 0) parted_.erase(found);
}

void Engine::end(Traffic& socket, int error, Call call) {
  const size_t left = std::min<size_t>(socket.queued_bytes, INT32_MAX);
  report(Record::closed(socket.id, error, call, static_cast<uint32_t>(left)));
  const bool too_much = error == -ENOBUFS && call == Call::write;
  using Number = std::numeric_limits<double>;
  const double failed = loses_output(socket, call) ? -Number::infinity() : Number::lowest();
  set_gauge(socket.id, error == 0 ? 0
                       : too_much ? -static_cast<double>(socket.queued_bytes) - 1
                                  : failed);
  if (socket.kind == Kind::connection) {
    Connection& connection = static_cast<Connection&>(socket);
    if (Listener* listener = sockets_.find_key<Listener>(connection.listener)) {
      listener->admission->leave(connection.prefix);
      if (listener->inlet != nullptr) listener->inlet->left();
    } else if (!parted_.empty()) {
      left_parted(connection.listener);
    }
    idle_.forget(connection);
    connection.framing.reset();
    connection.tls.reset();
  }
  Account& account = *socket.account;
  if (socket.touched.linked) touched_.remove(socket);
  if (socket.deadline.linked) {
    account.closing.remove(socket);
    if (account.closing.empty()) closing_.remove(account);
  }
  if (socket.waiting.linked) {
    const Halves& halves = socket.halves;
    (halves.held(by_slabs)  ? starved_
     : halves.held(by_rate) ? slowed_
                            : account.throttled)
        .remove(socket);
  }
  backend_->forget(socket);
  forget_descriptor(socket);
  set_queued(socket, 0);
  sockets_.retire(socket, reported_);
}

void Engine::unwatchable(Socket& socket, int error) {
  switch (socket.kind) {
    case Kind::connection:
      return finish(static_cast<Connection&>(socket), error, Call::poll);
    case Kind::listener:
      report(Record::accept_failed(socket.id, error));
      return rest_listener(static_cast<Listener&>(socket));
    case Kind::datagrams: {
      UdpSocket& datagrams = static_cast<UdpSocket&>(socket);
      datagrams.watch_error = error;
      // Nobody would say when they can be sent.
      fail_queued(datagrams, error);
      // The next `flush` tries again to have it watched.
      return touch(datagrams);
    }
  }
}

void Engine::set_alarm() {
  int64_t time_ms = idle_.next_ms();
  const auto earlier = [&time_ms](int64_t next_ms) {
    if (time_ms == 0 || next_ms < time_ms) time_ms = next_ms;
  };
  for (const Account* one = closing_.first(); one != nullptr; one = one->closes.next) {
    earlier(one->closing.first()->deadline_ms);
  }
  if (!resting_.empty()) earlier(resting_.first()->rest_until_ms);
  if (!slowed_.empty()) earlier(pace_of(*slowed_.first()).until_ms);
  if (review_at_ms_ != 0) earlier(review_at_ms_);
  for (const Listener* one = dropping_.first(); one != nullptr; one = one->dropping.next) {
    earlier(one->report_at_ms);
  }
  alarm_stale_ = false;
  backend_->wake_at(time_ms);
}

void Engine::woken() {
  const int64_t now_ms = monotonic_ms();
  while (!resting_.empty() && resting_.first()->rest_until_ms <= now_ms) {
    update_listener(*resting_.pop_front());
  }
  release_slowed(now_ms);
  if (review_at_ms_ != 0 && review_at_ms_ <= now_ms) review_delay(now_ms);
  for (Account* account = closing_.first(); account != nullptr;) {
    // With its last socket an account leaves the list, and may go.
    Account* next = account->closes.next;
    Traffic& late = *account->closing.first();
    const bool last = late.deadline.next == nullptr;
    if (late.deadline_ms <= now_ms) {
      close_late(late);
      if (!last) continue;
    }
    account = next;
  }
  // The turn does the rest: what it receives after this is traffic, too.
  alarm_rang_ = true;
}

void Engine::idle_timeout(uint32_t id, int64_t time_ms) {
  watch(id, time_ms, &IdleWheel::watch);
}

void Engine::input_timeout(uint32_t id, int64_t time_ms) {
  watch(id, time_ms, &IdleWheel::watch_input);
}

void Engine::expect_input(uint32_t id, bool on) {
  Connection* connection = sockets_.find<Connection>(id);
  // After FIN nothing more can come.
  if (connection == nullptr || connection->halves.input() == Input::ended) return;
  idle_.update(monotonic_ms());
  idle_.expect(*connection, on);
}

void Engine::watch(uint32_t id, int64_t time_ms, void (IdleWheel::*begin)(Connection&, int64_t)) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return;
  const bool first = idle_.empty();
  idle_.update(monotonic_ms());
  (idle_.*begin)(*connection, time_ms);
  // Those of a turn of the wheel or longer never come before others.
  if (first || time_ms < IdleWheel::turn_ms) set_alarm();
}

void Engine::no_delay(uint32_t id, bool on) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr || connection->unix_domain) return;
  // It can only fail for a connection that is gone, which is told otherwise.
  static_cast<void>(set_no_delay(connection->descriptor.get(), on));
}

void Engine::keep_alive(uint32_t id, bool on, int idle_s, int interval_s, int count) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr || connection->unix_domain) return;
  static_cast<void>(set_keep_alive(connection->descriptor.get(), on, idle_s, interval_s, count));
}

int Engine::set_type_of_service(uint32_t id, int value) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return -ENOTCONN;
  return engine::set_type_of_service(connection->descriptor.get(), value);
}

int Engine::type_of_service(uint32_t id) {
  Connection* connection = sockets_.find<Connection>(id);
  return connection == nullptr ? -ENOTCONN : engine::type_of_service(connection->descriptor.get());
}

int Engine::info(uint32_t id, ConnectionInfo& out) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return -ENOTCONN;
  out = {};
  out.held = connection->halves.held();
  return connection->unix_domain ? 0 : read_connection_info(connection->descriptor.get(), out);
}

int Engine::share(uint32_t id) {
  Socket* socket = sockets_.find(id);
  if (socket == nullptr) return -ENOTCONN;
  socket->shared = true;
  known_.insert(socket->descriptor.get());
  return socket->descriptor.get();
}

void Engine::expire_idle() {
  // What could not be read in this turn, for lack of room, is looked at again in the next.
  while (ready_for_more()) {
    Connection* connection = idle_.expired();
    if (connection == nullptr) return;
    if (idle_.late(*connection)) {
      expire_due(*connection);
      continue;
    }
    const int socket = connection->descriptor.get();
    const bool silent = idle_.without_input(*connection);
    const Call call = silent ? Call::silence : Call::idle;
    // What a paused connection has in the kernel is traffic of some time; but of this peer.
    const Halves& halves = connection->halves;
    const bool counts = silent ? halves.established() : halves.awaits_input();
    // Of one that is held by its rate, io_uring may have some.
    if (counts && (halves.held(by_rate) || input_waits(socket))) {
      idle_.resume(*connection);
    } else if (halves.closing()) {
      // Its close has a time limit of its own.
    } else if (!connection->output.empty()) {
      finish(*connection, -ETIMEDOUT, call);
    } else {
      // Whatever fails here, the connection ends.
      static_cast<void>(shutdown_output(socket));
      static_cast<void>(discard_input(socket, connection->unix_domain));
      end(*connection, -ETIMEDOUT, call);
    }
  }
}

// What a connection had to do by now is not done.
void Engine::expire_due(Connection& connection) {
  IdleLink& idle = connection.idle;
  const Halves& halves = connection.halves;
  if (halves.closing() || halves.input() == Input::ended) {
    IdleWheel::set_done(connection);
    idle_.look_again(connection);
  } else if (halves.input() == Input::held) {
    // Nobody has looked whether it comes.
    idle_.give_time(connection, idle.due_ticks);
  } else if (!idle.graced && input_waits(connection.descriptor.get())) {
    // It may have come in time; but who always has some more on the way is not let off again.
    idle.graced = true;
    idle_.give_time(connection, 1);
  } else {
    const bool frame = idle.due == Due::frame;
    count_limit(connection.account, connection.listener,
                frame ? Limit::frame_timeout : Limit::first_byte_timeout);
    finish(connection, -ETIMEDOUT, frame ? Call::frame : Call::first_byte);
  }
}

void Engine::set_due(Connection& connection, Due what, uint32_t ticks) {
  if (idle_.empty()) idle_.update(monotonic_ms());
  idle_.set_due(connection, what, ticks);
  alarm_stale_ = true;
}

void Engine::set_gauges(double* gauges, uint32_t count) {
  gauges_ = gauges;
  gauge_count_ = count;
  sockets_.each<Connection>([this](Connection& connection) { gauge(connection); });
}

}  // namespace marketplace::engine
