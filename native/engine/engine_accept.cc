// Accepting: what a listener does with a new connection, and without the means to have one.
#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "engine.h"
#include "socket.h"

namespace marketplace::engine {

bool Engine::accepted(Socket& socket, Descriptor descriptor, const Address& peer) {
  Listener& listener = static_cast<Listener&>(socket);
  if (listener.connections >= listener.connections_max) {
    drop(listener, std::move(descriptor), peer);
    return ready_for_more();
  }
  Connection* connection = sockets_.insert<Connection>();
  // Full: the descriptor closes itself. As good as having no descriptor for it.
  if (connection == nullptr) return accept_failed(socket, -EMFILE);
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
  if (listener.pause_accepted) change(*connection, Change::paused);
  listener.connections++;
  report(Record::accepted(connection->id, listener.id, peer));
  gauge(*connection);
  // Not watched until `settle`: the host may want it paused before anything is read.
  touch(*connection);
  return ready_for_more();
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

// Out of descriptors: clients that wait are told so by an end of their connections, where they
// would hang otherwise. In a short shortage few are, as the others will be served soon; in a long
// one all.
void Engine::shed_connections(Listener& listener) {
  constexpr uint8_t shortages_max = 10;
  const int count = 1 << listener.shortages;
  if (listener.shortages < shortages_max) listener.shortages++;
  for (int i = 0; i < count; i++) {
    if (!shed_connection(listener)) return;
  }
}

// Takes the spare descriptor's number for as long as that takes. False if nobody was sent away.
bool Engine::shed_connection(Listener& listener) {
  if (!spare_.valid()) spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!spare_.valid()) return false;
  spare_.reset();
  int result = 0;
  {
    Address peer;
    Descriptor descriptor;
    // It fails if somebody else was faster, or nobody waits.
    result = accept_socket(listener.descriptor.get(), descriptor, peer);
  }
  // If somebody else took the number, the next shortage tries again.
  spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return result == 0;
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
  const bool wanted = !listener.paused && !listener.rest.linked;
  backend_->want(listener, wanted ? want_receive : want_nothing);
}

void Engine::pause_listener(uint32_t id, bool paused) {
  Listener* listener = sockets_.find<Listener>(id);
  if (listener == nullptr || listener->paused == paused) return;
  listener->paused = paused;
  update_listener(*listener);
  backend_->settle(*this);
}

// An RST: the client is told at once, and nothing of the connection stays behind here.
void Engine::drop(Listener& listener, Descriptor descriptor, const Address& peer) {
  static_cast<void>(reset_on_close(descriptor.get()));
  descriptor.reset();
  if (listener.dropped++ == 0) dropping_.push_back(listener);
  listener.dropped_peer = peer;
}

// One record for all that a turn has dropped, so that a flood does not cost a record for each.
void Engine::report_drops() {
  while (Listener* listener = dropping_.pop_front()) {
    report(Record::dropped(listener->id, listener->dropped, listener->dropped_peer));
    listener->dropped = 0;
  }
}

}  // namespace marketplace::engine
