// Accepting: what a listener does with a new connection, whom it refuses, and what it does without
// the means to have one.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

// Between two reports of what a listener refuses.
constexpr int64_t report_pause_ms = 1000;
// Between two looks whether the host is late no longer.
constexpr int64_t review_pause_ms = 100;

}  // namespace

int Engine::accept(Socket& socket, Descriptor& out, Address& peer) {
  const Listener& listener = static_cast<Listener&>(socket);
  if (listener.inlet == nullptr) return accept_socket(listener.descriptor.get(), out, peer);
  return listener.inlet->next(out, peer);
}

bool Engine::accepted(Socket& socket, Descriptor descriptor, const Address& peer) {
  Listener& listener = static_cast<Listener&>(socket);
  const Admission::Decision decision = listener.admission->admit(peer);
  if (!decision.admitted) {
    refuse(listener, std::move(descriptor), peer, decision.refused_for);
    return ready_for_more();
  }
  Connection* connection = sockets_.insert<Connection>();
  if (connection == nullptr) {
    listener.admission->leave(decision.prefix);
    if (listener.inlet != nullptr) listener.inlet->left();
    // Full: the descriptor closes itself. As good as having no descriptor for it.
    return accept_failed(socket, -EMFILE);
  }
  listener.failing = false;
  listener.shortages = 0;
  connection->descriptor = std::move(descriptor);
  connection->account = listener.account;
  connection->unix_domain = listener.unix_domain;
  if (listener.unix_domain) {
    // Cannot fail for a socket, with sizes that the listener took.
    static_cast<void>(set_buffer_sizes(connection->descriptor.get(), listener.options));
  }
  connection->listener = listener.key;
  connection->prefix = decision.prefix;
  if (listener.pause_accepted) change(*connection, Change::paused);
  begin_limited(*connection, listener.admission->limits());
  report(Record::accepted(connection->id, listener.id, peer));
  gauge(*connection);
  // Not watched until `settle`: the host may want it paused before anything is read.
  touch(*connection);
  return ready_for_more();
}

void Engine::begin_limited(Connection& connection, const ListenLimits& limits) {
  if (limits.receive_rate.limits()) {
    connection.pace = std::make_unique<Pace>(limits.receive_rate, monotonic_ms());
  }
  if (limits.frame_ms > 0) connection.idle.frame_limit = IdleWheel::ticks_of(limits.frame_ms);
  if (limits.first_byte_ms > 0) {
    set_due(connection, Due::first_byte, IdleWheel::ticks_of(limits.first_byte_ms));
  }
}

bool Engine::accept_failed(Socket& socket, int error) {
  Listener& listener = static_cast<Listener&>(socket);
  switch (-error) {
    case EMFILE:
    case ENFILE:
      shed_connections(listener);
      break;
    case ENOBUFS:
    case ENOMEM:
      break;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EFAULT:
      // Not a listener any more: it must not make the loop spin, whatever happened to it.
      break;
    default:
      // This connection ended before it was accepted (ECONNABORTED, EPERM by a firewall, a network
      // error that Linux passes on): the next one may be well.
      return true;
  }
  // Once per shortage, not once per try.
  if (!listener.failing) report(Record::accept_failed(listener.id, error));
  listener.failing = true;
  rest_listener(listener);
  return false;
}

// Out of descriptors: clients that wait are told so by an end of their connections.
void Engine::shed_connections(Listener& listener) {
  const bool borrows = listener.inlet != nullptr;
  const int source = borrows ? listener.inlet->socket() : listener.descriptor.get();
  if (source >= 0) spare_.shed_connections(source, listener.shortages);
}

// The kernel goes on reporting the listener as ready, so it has to be left alone for a while.
void Engine::rest_listener(Listener& listener) {
  if (listener.rest.linked) resting_.remove(listener);
  listener.rest_until_ms = monotonic_ms() + options_.accept_pause_ms;
  resting_.push_back(listener);
  update_listener(listener);
  set_alarm();
}

void Engine::update_listener(Listener& listener) {
  const bool wanted = !listener.paused && !listener.overloaded && !listener.rest.linked;
  if (listener.inlet != nullptr) listener.inlet->want(wanted);
  backend_->want(listener, wanted ? want_receive : want_nothing);
}

void Engine::pause_listener(uint32_t id, bool paused) {
  Listener* listener = sockets_.find<Listener>(id);
  if (listener == nullptr || listener->paused == paused) return;
  listener->paused = paused;
  update_listener(*listener);
  backend_->settle(*this);
}

void Engine::limit_listener(uint32_t id, const ListenLimits& limits) {
  Listener* listener = sockets_.find<Listener>(id);
  if (listener == nullptr) return;
  listener->admission->change(limits, monotonic_ms());
  guard(*listener);
  backend_->settle(*this);
}

void Engine::exempt(uint32_t id, std::vector<PrefixRange> ranges) {
  Listener* listener = sockets_.find<Listener>(id);
  if (listener != nullptr) listener->admission->exempt(std::move(ranges));
}

const Admission* Engine::admission(uint32_t id, bool& overloaded) {
  const Listener* listener = sockets_.find<Listener>(id);
  if (listener == nullptr) return nullptr;
  overloaded = listener->overloaded;
  return listener->admission.get();
}

// It is in the list exactly if it has a bound.
void Engine::guard(Listener& listener) {
  const bool wanted = listener.admission->limits().pause_above_ms > 0;
  if (wanted == listener.guarded.linked) return;
  if (wanted) return guarded_.push_back(listener);
  guarded_.remove(listener);
  if (listener.overloaded) overload(listener, false);
}

void Engine::overload(Listener& listener, bool on) {
  listener.overloaded = on;
  Counters& counters = counters_of(listener.account);
  if (on) {
    counters.listeners_paused++;
    count_limit(listener.account, listener.key, Limit::pause_above);
  } else {
    counters.listeners_paused--;
  }
  update_listener(listener);
}

void Engine::note_delay(int64_t delay_ms) {
  bool changed = false;
  delay_ms_ = std::max(delay_ms_, delay_ms);
  for (Listener* one = guarded_.first(); one != nullptr; one = one->guarded.next) {
    if (one->overloaded || delay_ms < one->admission->limits().pause_above_ms) continue;
    overload(*one, true);
    changed = true;
  }
  if (!changed) return;
  if (review_at_ms_ == 0) {
    review_at_ms_ = monotonic_ms() + review_pause_ms;
    delay_ms_ = 0;
    set_alarm();
  }
  backend_->settle(*this);
}

// Accepting goes on when the host has been late by less than half of the bound since the last
// review: otherwise it would begin and end with each turn.
void Engine::review_delay(int64_t now_ms) {
  bool any = false;
  for (Listener* one = guarded_.first(); one != nullptr; one = one->guarded.next) {
    if (!one->overloaded) continue;
    if (delay_ms_ * 2 < one->admission->limits().pause_above_ms) {
      overload(*one, false);
    } else {
      any = true;
    }
  }
  delay_ms_ = 0;
  review_at_ms_ = any ? now_ms + review_pause_ms : 0;
}

void Engine::count_limit(const std::shared_ptr<Account>& account, Key listener, Limit limit) {
  const size_t index = static_cast<size_t>(limit);
  counters_of(account).limits[index]++;
  if (Listener* of = sockets_.find_key<Listener>(listener)) of->admission->counts[index]++;
}

// An RST: the client is told at once, and nothing of the connection stays behind here.
void Engine::refuse(Listener& listener, Descriptor descriptor, const Address& peer, Limit limit) {
  static_cast<void>(reset_on_close(descriptor.get()));
  descriptor.reset();
  if (listener.inlet != nullptr) listener.inlet->left();
  count_limit(listener.account, listener.key, limit);
  if (listener.dropped_peer == nullptr) listener.dropped_peer = std::make_unique<Address>();
  *listener.dropped_peer = peer;
  if (listener.dropped++ > 0) return;
  dropping_.push_back(listener);
  alarm_stale_ = true;
}

// The first refusal at once, all that follow it later in one record: a flood costs the host no more
// than that.
void Engine::report_drops() {
  if (dropping_.empty()) return;
  const int64_t now_ms = monotonic_ms();
  for (Listener* next = dropping_.first(); next != nullptr;) {
    Listener& listener = *next;
    next = listener.dropping.next;
    if (listener.report_at_ms > now_ms) continue;
    report(Record::dropped(listener.id, listener.dropped, *listener.dropped_peer));
    listener.dropped = 0;
    listener.report_at_ms = now_ms + report_pause_ms;
    dropping_.remove(listener);
  }
}

}  // namespace marketplace::engine
