// Accepting for several engines; see acceptor.h.
#include "acceptor.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "socket.h"

namespace marketplace::engine {

namespace {

// Connections that are accepted at a time, before workers are woken and others get the lock.
constexpr int batch_max = 64;
// How long accepting rests when descriptors or memory are short.
constexpr int64_t rest_for_ms = 100;
constexpr uint64_t wake_key = 0;
// What the kernel's queue holds at most is as much as a listener can be asked for.
constexpr int drain_max = 65'536;

bool lacks_descriptors(int error) {
  return error == -EMFILE || error == -ENFILE;
}

bool is_shortage(int error) {
  return lacks_descriptors(error) || error == -ENOBUFS || error == -ENOMEM;
}

// How often another port of the kernel's choice is tried.
constexpr int ports_tried = 16;

// As many sockets at one address, among which the kernel divides who comes. Whether somebody else
// has the port, in whatever way, is found by one that would share it with nobody.
int try_group(Address address, ListenOptions options, int32_t count, std::vector<Descriptor>& out) {
  Descriptor alone;
  options.reuse_port = false;
  int result = bind_listener(address, options, alone);
  if (result == 0) result = local_address(alone.get(), address);
  if (result < 0) return result;
  alone.reset();
  options.reuse_port = true;
  out.resize(static_cast<size_t>(count));
  for (Descriptor& one : out) {
    result = bind_listener(address, options, one);
    if (result < 0) return result;
  }
  for (const Descriptor& one : out) {
    result = begin_to_listen(one.get(), options.backlog);
    if (result < 0) return result;
  }
  return 0;
}

int open_group(const Address& address, const ListenOptions& options, int32_t count,
               std::vector<Descriptor>& out) {
  for (int tries = ports_tried;; tries--) {
    out.clear();
    const int result = try_group(address, options, count, out);
    // Somebody else may have been faster to have a port that the kernel had chosen.
    if (result != -EADDRINUSE || address.port() != 0 || tries == 0) return result;
  }
}

// Not a listener any more, whatever happened to it.
bool is_broken(int error) {
  return error == -EBADF || error == -EINVAL || error == -ENOTSOCK || error == -EOPNOTSUPP;
}

}  // namespace

Acceptor::~Acceptor() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake(wake_.get());
  thread_.join();
  for (const auto& worker : workers_) {
    for (const auto& place : worker->places) take_back(*place);
  }
}

int Acceptor::open(Routing routing) {
  const int spared = spare_.open();
  if (spared < 0) return spared;
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return -errno;
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return -errno;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = wake_key;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) return -errno;
  unrouted_.open(std::move(routing), epoll_.get(), wake_.get());
  // Signals are the host's: its threads have them delivered.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  const int masked = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (masked != 0) return -masked;
  thread_ = std::thread([this] { run(); });
  static_cast<void>(pthread_sigmask(SIG_SETMASK, &before, nullptr));
  return 0;
}

int32_t Acceptor::listen(const Address& address, const ListenOptions& options, int32_t places) {
  auto listener = std::make_unique<Listener>();
  std::vector<Descriptor> sockets;
  const bool divided = places > 0 && !address.is_unix();
  int result = divided ? open_group(address, options, places, sockets)
                       : open_listener(address, options, sockets.emplace_back());
  if (result < 0) return result;
  if (address.file() != nullptr) listener->file.own(address.file());
  const std::lock_guard lock(mutex_);
  listener->id = ++last_id_;
  for (size_t i = 0; i < sockets.size(); i++) {
    const int32_t place = divided ? static_cast<int32_t>(i) : fewest;
    result = add_source(*listener, std::move(sockets[i]), place);
    if (result < 0) return result;
  }
  for (const auto& source : listener->sources) sources_.emplace(source->id, source.get());
  const int32_t id = listener->id;
  listeners_.emplace(id, std::move(listener));
  return id;
}

int Acceptor::add_source(Listener& listener, Descriptor descriptor, int32_t place) {
  auto source = std::make_unique<Source>();
  source->id = ++last_id_;
  source->listener = &listener;
  source->descriptor = std::move(descriptor);
  source->place = place;
  epoll_event event{};
  event.data.u64 = static_cast<uint64_t>(source->id);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, source->descriptor.get(), &event) != 0) {
    return -errno;
  }
  listener.sources.push_back(std::move(source));
  return 0;
}

int Acceptor::local(int32_t listener, Address& out) {
  const std::lock_guard lock(mutex_);
  const Listener* found = find_open(listener);
  if (found == nullptr) return -EBADF;
  return local_address(found->sources.front()->descriptor.get(), out);
}

void Acceptor::close_listener(int32_t id) {
  const std::lock_guard lock(mutex_);
  Listener* found = find_open(id);
  if (found == nullptr) return;
  Listener& listener = *found;
  for (const auto& worker : workers_) {
    for (const auto& place : worker->places) {
      if (place->listener == &listener) place->inlet->own.store(0);
    }
  }
  listener.closing = true;
  serve(listener, drain_max);
  unrouted_.drop(id);
  close_sources(listener);
  if (finish_closing(listener)) listeners_.erase(id);
  wake_touched();
}

void Acceptor::close_sources(Listener& listener) {
  for (const auto& source : listener.sources) {
    sources_.erase(source->id);
    if (source->place == fewest) continue;
    // Workers have descriptors of it, by which it would go on listening, and be in the epoll.
    const int socket = source->descriptor.get();
    static_cast<void>(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket, nullptr));
    static_cast<void>(::shutdown(socket, SHUT_RDWR));
  }
  listener.sources.clear();
  listener.file.remove();
}

// Gives away what is unplaced. True if there is nothing left that anybody could have: then nobody
// sits at it any more.
bool Acceptor::finish_closing(Listener& listener) {
  static_cast<void>(place_unplaced(listener));
  std::erase_if(listener.unplaced, [&](const auto& one) { return !may_want(listener, one.first); });
  if (!listener.unplaced.empty()) return false;
  for (const auto& worker : workers_) {
    for (const auto& place : worker->places) {
      if (place->listener == &listener) place->listener = nullptr;
    }
  }
  return true;
}

// Whether there is a worker that could have one for that place, if it has room and wants any.
bool Acceptor::may_want(const Listener& listener, int32_t where) const {
  return std::ranges::any_of(workers_, [&](const auto& worker) {
    return (where == fewest || worker->place == where) &&
           std::ranges::any_of(worker->places, [&](const auto& place) {
             return place->listener == &listener && !place->retired &&
                    place->inlet->released.load() == 0;
           });
  });
}

void Acceptor::hurry(int32_t id) {
  const std::lock_guard lock(mutex_);
  Listener* found = find_open(id);
  if (found == nullptr || !unrouted_.on()) return;
  serve(*found, drain_max);
  unrouted_.hurry(id);
}

ssize_t Acceptor::next_question(Unrouted::Question& out, uint8_t* prefix, size_t size) {
  const std::lock_guard lock(mutex_);
  return unrouted_.next(out, prefix, size);
}

int Acceptor::answer(uint64_t question, int32_t where) {
  const std::lock_guard lock(mutex_);
  if (where == more) return unrouted_.wait_for_more(question);
  Unrouted::Connection connection;
  if (!unrouted_.take(question, connection)) return -ENOENT;
  const auto found = listeners_.find(connection.listener);
  int result = 0;
  if (found != listeners_.end() && where >= fewest) {
    Listener& listener = *found->second;
    std::deque<Waiting>& waiting = listener.unplaced[where];
    if (waiting.size() < waiting_max) {
      waiting.push_back(Waiting{std::move(connection.descriptor), connection.peer});
    } else {
      result = -ENOBUFS;
    }
    static_cast<void>(place_unplaced(listener, where, waiting));
    if (waiting.empty()) listener.unplaced.erase(where);
    wake_touched();
  }
  if (connection.descriptor.valid()) {
    static_cast<void>(reset_on_close(connection.descriptor.get()));
  }
  return result;
}

int Acceptor::sit(int32_t listener, int32_t worker_id, int32_t place_number, Seat& out) {
  auto place = std::make_unique<Place>();
  int result = make_inlet_memory(place->memory);
  if (result == 0) result = place->inlet.map(place->memory.get());
  if (result == 0) result = make_pipe(place->told, place->tells);
  if (result < 0) return result;
  const std::lock_guard lock(mutex_);
  place->listener = find_open(listener);
  if (place->listener == nullptr) return -EBADF;
  place->id = ++last_id_;
  for (const auto& source : place->listener->sources) {
    if (source->place == fewest || source->place != place_number) continue;
    const int own = duplicate(source->descriptor.get());
    if (own < 0) return own;
    place->socket.reset(own);
  }
  Worker* known = find(worker_id);
  if (known == nullptr) {
    workers_.push_back(std::make_unique<Worker>());
    known = workers_.back().get();
    known->id = worker_id;
  }
  Worker& worker = *known;
  worker.place = place_number;
  place->retired = worker.retired;
  place->inlet->own.store(place->retired ? 0 : 1);
  out.id = place->id;
  out.descriptors =
      InletDescriptors{place->memory.get(), place->told.get(), wake_.get(), place->socket.get()};
  // Whoever comes first says that it is open, and wakes the thread.
  place->inlet->starved.store(1);
  worker.places.push_back(std::move(place));
  return 0;
}

void Acceptor::retire(int32_t worker_id) {
  const std::lock_guard lock(mutex_);
  Worker* worker = find(worker_id);
  if (worker == nullptr) return;
  worker->retired = true;
  for (const auto& place : worker->places) {
    place->retired = true;
    place->inlet->own.store(0);
  }
  wake(wake_.get());
}

void Acceptor::recall(int32_t worker_id) {
  const std::lock_guard lock(mutex_);
  Worker* worker = find(worker_id);
  if (worker == nullptr) return;
  worker->retired = true;
  for (const auto& place : worker->places) {
    place->retired = true;
    place->inlet->own.store(0);
    // Where nothing is accepted any more, nobody else may be there who could have them.
    const Listener* listener = place->listener;
    if (listener == nullptr) continue;
    if (!listener->closing || may_want(*listener, fewest)) take_back(*place);
  }
  wake(wake_.get());
}

void Acceptor::leave(int32_t worker_id) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::ranges::find(workers_, worker_id, [](const auto& one) { return one->id; });
  if (found == workers_.end()) return;
  const std::unique_ptr<Worker> gone = std::move(*found);
  workers_.erase(found);
  for (const auto& place : gone->places) take_back(*place);
  wake(wake_.get());
}

void Acceptor::leave_seat(int32_t seat) {
  const std::lock_guard lock(mutex_);
  for (const auto& worker : workers_) {
    for (const auto& place : worker->places) {
      if (place->id == seat && !place->left) place->inlet->released.store(1);
    }
  }
  wake(wake_.get());
}

Acceptor::Counts Acceptor::counts(int32_t worker_id) {
  const std::lock_guard lock(mutex_);
  Counts counts;
  const Worker* worker = find(worker_id);
  if (worker == nullptr) return counts;
  counts.live = live(*worker);
  counts.given = worker->given;
  for (const auto& place : worker->places) {
    counts.waiting += waiting(*place);
    counts.given += place->inlet->accepted.load();
  }
  return counts;
}

Acceptor::Worker* Acceptor::find(int32_t id) {
  const auto found = std::ranges::find(workers_, id, [](const auto& one) { return one->id; });
  return found == workers_.end() ? nullptr : found->get();
}

Acceptor::Listener* Acceptor::find_open(int32_t id) {
  const auto found = listeners_.find(id);
  return found == listeners_.end() || found->second->closing ? nullptr : found->second.get();
}

uint32_t Acceptor::unplaced() {
  const std::lock_guard lock(mutex_);
  uint32_t count = 0;
  for (const auto& [id, listener] : listeners_) {
    for (const auto& [where, waiting] : listener->unplaced) {
      count += static_cast<uint32_t>(waiting.size());
    }
  }
  return count;
}

int Acceptor::take_failure() {
  const std::lock_guard lock(mutex_);
  return std::exchange(failure_, 0);
}

void Acceptor::run() {
  std::array<epoll_event, 32> events{};
  for (;;) {
    int rest = -1;
    {
      const std::lock_guard lock(mutex_);
      rest = rest_ms();
    }
    const int count =
        epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), rest);
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    bool woken = count <= 0;
    for (int i = 0; i < count; i++) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.u64 == wake_key) {
        eventfd_t value = 0;
        static_cast<void>(eventfd_read(wake_.get(), &value));
        woken = true;
        continue;
      }
      if (Unrouted::is_key(event.data.u64)) {
        constexpr uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
        unrouted_.said(Unrouted::id_of(event.data.u64), (event.events & ended) != 0);
        continue;
      }
      const auto found = sources_.find(static_cast<int32_t>(event.data.u64));
      if (found != sources_.end()) serve(*found->second, batch_max);
    }
    if (woken) review();
    if (unrouted_.on()) unrouted_.expire(monotonic_ms());
    wake_touched();
  }
}

// Somebody has room again, has come or is gone, or a rest is over.
void Acceptor::review() {
  for (const auto& worker : workers_) {
    for (const auto& place : worker->places) {
      if (place->inlet->released.load() != 0 && !place->left) part(*place);
    }
    std::erase_if(worker->places, [&](const auto& place) {
      if (!place->left || live(*place) > 0) return false;
      worker->given += place->inlet->accepted.load();
      return true;
    });
  }
  std::erase_if(listeners_, [&](const auto& one) {
    return one.second->closing && finish_closing(*one.second);
  });
  for (const auto& [id, listener] : listeners_) {
    for (const auto& source : listener->sources) {
      // Of one that is watched it may be the worker's turn again.
      if (!source->watched || source->place != fewest || !listener->unplaced.empty()) {
        serve(*source, batch_max);
      }
    }
  }
}

// Of a place that its worker has left nothing stays but what counts its connections.
void Acceptor::part(Place& place) {
  take_back(place);
  place.inlet->own.store(0);
  place.left = true;
  place.listener = nullptr;
  place.memory.reset();
  place.told.reset();
  place.tells.reset();
  place.socket.reset();
}

// Whether a worker accepts from it by itself at present.
bool Acceptor::has_taker(const Source& source) const {
  if (source.place == fewest) return false;
  return std::ranges::any_of(workers_, [&](const auto& worker) {
    return worker->place == source.place &&
           std::ranges::any_of(worker->places, [&](const auto& place) {
             return place->listener == source.listener && place->inlet->own.load() != 0 &&
                    place->inlet->open.load() != 0;
           });
  });
}

void Acceptor::serve(Listener& listener, int most) {
  for (const auto& source : listener.sources) serve(*source, most);
}

// Gives away who has come. At the end the socket is watched exactly if there is somebody to give
// the next one to, no worker accepts from it, and it does not rest. Where the listener closes, who
// can't be given away yet is kept, if there is anybody who may want it.
void Acceptor::serve(Source& source, int most) {
  Listener& listener = *source.listener;
  const bool closing = listener.closing;
  if (!closing && source.rest_until_ms != 0 && source.rest_until_ms > monotonic_ms()) {
    return watch(source, false);
  }
  source.rest_until_ms = 0;
  if (!place_unplaced(listener) && !closing) return watch(source, false);
  if (has_taker(source)) return watch(source, false);
  for (int i = 0; i < most; i++) {
    if (unrouted_.on() && unrouted_.full()) return watch(source, false);
    const Choice choice = choose_or_starve(listener, fewest);
    const bool keeps = closing && may_want(listener, fewest);
    if (choice.place == nullptr && !keeps) return watch(source, false);
    if (!accept_from(source, choice)) break;
  }
  watch(source, source.rest_until_ms == 0);
}

// False if there is none.
bool Acceptor::accept_from(Source& source, const Choice& choice) {
  Listener& listener = *source.listener;
  Descriptor descriptor;
  Address peer;
  const int result = accept_socket(source.descriptor.get(), descriptor, peer);
  if (result == -EAGAIN) return false;
  if (is_shortage(result) || is_broken(result)) {
    short_of(source, result);
    return false;
  }
  // Others are about a connection that ended before it was accepted: the next may be well.
  if (result != 0) return true;
  source.shortages = 0;
  if (unrouted_.on()) {
    unrouted_.add(listener.id, std::move(descriptor), peer);
  } else if (choice.place == nullptr) {
    listener.unplaced[fewest].push_back(Waiting{std::move(descriptor), peer});
  } else {
    give(choice, fewest, std::move(descriptor), peer);
  }
  return true;
}

void Acceptor::short_of(Source& source, int error) {
  failure_ = error;
  source.rest_until_ms = monotonic_ms() + rest_for_ms;
  if (lacks_descriptors(error)) {
    spare_.shed_connections(source.descriptor.get(), source.shortages);
  }
}

// False if nobody wants any of those that may go to any place.
bool Acceptor::place_unplaced(Listener& listener) {
  bool placed = true;
  for (auto& [where, waiting] : listener.unplaced) {
    if (!place_unplaced(listener, where, waiting) && where == fewest) placed = false;
  }
  std::erase_if(listener.unplaced, [](const auto& one) { return one.second.empty(); });
  return placed;
}

bool Acceptor::place_unplaced(Listener& listener, int32_t where, std::deque<Waiting>& waiting) {
  while (!waiting.empty()) {
    const Choice choice = choose_or_starve(listener, where);
    if (choice.place == nullptr) return false;
    Waiting next = std::move(waiting.front());
    waiting.pop_front();
    give(choice, where, std::move(next.descriptor), next.peer);
  }
  return true;
}

// The worker with the fewest connections, of those at that place if it says one, and where it sits
// at this listener. Of equals the next after the last one, so that they take turns.
Acceptor::Choice Acceptor::choose(const Listener& listener, int32_t where) {
  Choice best;
  uint32_t least = UINT32_MAX;
  for (size_t i = 0; i < workers_.size(); i++) {
    const size_t index = (last_ + 1 + i) % workers_.size();
    Worker& worker = *workers_[index];
    if (where != fewest && worker.place != where) continue;
    const uint32_t connections = live(worker);
    if (connections >= least) continue;
    for (const auto& place : worker.places) {
      if (place->listener != &listener || place->retired) continue;
      if (place->inlet->open.load() == 0 || waiting(*place) == inlet_capacity) continue;
      best = Choice{place.get(), &worker, index};
      least = connections;
    }
  }
  return best;
}

// The same; if there is none, those that could want some later are asked to say so. They may have
// changed their mind before they saw that they are asked, so they are looked at again.
Acceptor::Choice Acceptor::choose_or_starve(const Listener& listener, int32_t where) {
  const Choice choice = choose(listener, where);
  if (choice.place != nullptr) return choice;
  for (const auto& worker : workers_) {
    for (const auto& one : worker->places) {
      if (one->listener == &listener) one->inlet->starved.store(1);
    }
  }
  return choose(listener, where);
}

void Acceptor::give(const Choice& choice, int32_t where, Descriptor descriptor,
                    const Address& peer) {
  Place& place = *choice.place;
  last_ = choice.index;
  place.routes[place.put % inlet_capacity] = where;
  InletMemory::Entry& entry = place.inlet->entries[place.put % inlet_capacity];
  entry.length =
      peer.is_unix() ? sizeof(sa_family_t) : std::min<uint32_t>(peer.length, sizeof(entry.peer));
  std::memcpy(&entry.peer, peer.data(), entry.length);
  entry.descriptor = descriptor.release();
  place.put++;
  place.inlet->put.store(place.put);
  place.touched = true;
  choice.worker->given++;
}

// What its taker has not taken. It may be about to: each is whose `taken` goes up first.
void Acceptor::take_back(Place& place) {
  for (uint32_t at = place.inlet->taken.load(); at != place.put;) {
    if (!place.inlet->taken.compare_exchange_strong(at, at + 1)) continue;
    const int32_t where = place.routes[at % inlet_capacity];
    const InletMemory::Entry& entry = place.inlet->entries[at++ % inlet_capacity];
    place.back++;
    Waiting back;
    back.descriptor.reset(entry.descriptor);
    back.peer = Address{};
    back.peer.length = entry.length;
    std::memcpy(back.peer.data(), &entry.peer, entry.length);
    if (place.listener == nullptr) continue;
    place.listener->unplaced[where].push_back(std::move(back));
    // They are served when the thread looks next.
    for (const auto& source : place.listener->sources) watch(*source, false);
  }
}

void Acceptor::watch(Source& source, bool on) {
  if (source.watched == on) return;
  epoll_event event{};
  event.events = on ? static_cast<uint32_t>(EPOLLIN) : 0U;
  event.data.u64 = static_cast<uint64_t>(source.id);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, source.descriptor.get(), &event) == 0) {
    source.watched = on;
  } else {
    failure_ = -errno;
    source.rest_until_ms = monotonic_ms() + rest_for_ms;
  }
}

// One wake-up for all that a worker was given in this batch.
void Acceptor::wake_touched() {
  for (const auto& worker : workers_) {
    for (const auto& place : worker->places) {
      if (std::exchange(place->touched, false)) tell(place->tells.get());
    }
  }
}

// Until the next rest is over, or a time to wait for more; -1: there is none.
int Acceptor::rest_ms() {
  int64_t soonest = unrouted_.next_expiry_ms();
  for (const auto& [id, listener] : listeners_) {
    for (const auto& source : listener->sources) {
      const int64_t until = source->rest_until_ms;
      if (until != 0 && (soonest == 0 || until < soonest)) soonest = until;
    }
  }
  if (soonest == 0) return -1;
  return static_cast<int>(std::max<int64_t>(0, soonest - monotonic_ms()));
}

uint32_t Acceptor::waiting(const Place& place) {
  return place.put - place.inlet->taken.load(std::memory_order_acquire);
}

uint32_t Acceptor::live(const Worker& worker) {
  uint32_t live = 0;
  for (const auto& place : worker.places) live += Acceptor::live(*place);
  return live;
}

uint32_t Acceptor::live(const Place& place) {
  // Read first: what has ended was counted as accepted before.
  const uint32_t gone = place.inlet->gone.load(std::memory_order_acquire);
  return place.put - place.back + place.inlet->accepted.load() - gone;
}

}  // namespace marketplace::engine
