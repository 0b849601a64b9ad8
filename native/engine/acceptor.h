// Accepts for several engines, on a thread of its own that sleeps while nobody comes: each new
// connection goes to the worker that has the fewest, or, if the host routes them (see unrouted.h),
// to one at the place that it names. Or the kernel divides them among as many sockets as there are
// places, of which the workers accept by themselves (SO_REUSEPORT): then this is only for those
// whose worker is away, or wants none.
//
// Owns the listening sockets, which so outlive any worker, and each connection until a worker's
// engine has taken it, or has accepted it by itself; see inlet.h. What a worker has not taken when
// it ends goes to the others, or waits for the next one at its place. As long as no worker wants
// any, connections wait in the kernel's queue.
//
// All functions may be called on any thread; none of them waits longer than one batch takes.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "address.h"
#include "descriptor.h"
#include "inlet.h"
#include "layout.h"
#include "options.h"
#include "socket.h"
#include "socket_file.h"
#include "unrouted.h"

namespace marketplace::engine {

class Acceptor {
 public:
  // What a worker needs to have an Inlet.
  struct Seat {
    int32_t id = 0;
    InletDescriptors descriptors;
  };
  struct Counts {
    // Connections that workers have, or are about to.
    uint32_t live = 0;
    // Those of them that wait to be taken.
    uint32_t waiting = 0;
    // All that it was ever given, or has accepted by itself.
    uint64_t given = 0;
  };

  Acceptor() = default;
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  ~Acceptor();

  // What the host answers, besides the number of a place.
  static constexpr auto fewest = static_cast<int32_t>(RouteAnswer::fewest);
  static constexpr auto more = static_cast<int32_t>(RouteAnswer::more);
  static constexpr auto refuse = static_cast<int32_t>(RouteAnswer::refuse);
  // Connections that wait for a place without a worker. Beyond that they are reset.
  static constexpr size_t waiting_max = 1024;

  // Starts the thread: 0 or negative errno.
  int open(Routing routing = {});
  // The id of a new listener, from 1 on, or negative errno. With `places` each of these has a
  // socket of its own, of which its workers accept by themselves; not so for Unix sockets, among
  // which the kernel divides nothing.
  int32_t listen(const Address& address, const ListenOptions& options, int32_t places = 0);
  int local(int32_t listener, Address& out);
  // Who waits in the kernel's queue is accepted first, and given away as soon as workers have room
  // for it, as far as there are workers: until then it is `unplaced`. What the host has not routed
  // is reset: see `hurry`.
  void close_listener(int32_t listener);
  // Who waits in the kernel's queue is accepted, and the host is asked about all that it has not
  // routed, for the last time.
  void hurry(int32_t listener);
  // The next connection to be routed, and as many bytes of its prefix as it returns; or -EAGAIN.
  ssize_t next_question(Unrouted::Question& out, uint8_t* prefix, size_t size);
  // Where it goes. 0; -ENOENT: it is gone; -EINVAL: there will be no more; -ENOBUFS: too many wait
  // for that place, and it is reset.
  int answer(uint64_t question, int32_t where);
  // A worker sits at a listener; `place` is what it is routed by. 0 or negative errno.
  int sit(int32_t listener, int32_t worker, int32_t place, Seat& out);
  // Nothing is put into this worker's queues any more; what is in them may still be taken.
  void retire(int32_t worker);
  // The same, and what it has not taken goes to others now: it may be busy for long.
  void recall(int32_t worker);
  // The worker has ended, or one of its engines: what it has not taken goes to others.
  void leave(int32_t worker);
  void leave_seat(int32_t seat);
  Counts counts(int32_t worker);
  // Connections that nobody could be given so far.
  uint32_t unplaced();
  // Why connections could not be accepted last, as negative errno, since this was asked last; or 0.
  int take_failure();

 private:
  struct Listener;

  // A worker's seat at a listener.
  struct Place {
    int32_t id = 0;
    Listener* listener = nullptr;
    // Where each in the queue was routed to.
    std::array<int32_t, inlet_capacity> routes{};
    Descriptor memory;
    // Both ends of the pipe that wakes it.
    Descriptor told;
    Descriptor tells;
    // Of the socket that the worker accepts from by itself, if there is one.
    Descriptor socket;
    InletMapping inlet;
    uint32_t put = 0;
    // Of these, taken back.
    uint32_t back = 0;
    bool retired = false;
    // The worker has left it, and is known here as long as it has connections from there.
    bool left = false;
    // It was given something that it was not woken for.
    bool touched = false;
  };
  struct Worker {
    int32_t id = 0;
    int32_t place = 0;
    std::vector<std::unique_ptr<Place>> places;
    uint64_t given = 0;
    bool retired = false;
  };
  struct Waiting {
    Descriptor descriptor;
    Address peer;
  };
  // A listening socket, with its queue in the kernel.
  struct Source {
    int32_t id = 0;
    Listener* listener = nullptr;
    Descriptor descriptor;
    // Whose workers accept from it by themselves; or `fewest`: nobody's do.
    int32_t place = fewest;
    // Whether the thread is told when somebody comes.
    bool watched = false;
    int64_t rest_until_ms = 0;
    // How often in a row clients that waited were sent away as there were no descriptors.
    uint8_t shortages = 0;
  };
  struct Listener {
    int32_t id = 0;
    // By places, if these have some of their own; otherwise there is one.
    std::vector<std::unique_ptr<Source>> sources;
    SocketFile file;
    // Accepted, and given to nobody yet: by where they are routed to.
    std::map<int32_t, std::deque<Waiting>> unplaced;
    // It has no sockets any more, and is there for who is unplaced.
    bool closing = false;
  };

  // Who gets the next one.
  struct Choice {
    Place* place = nullptr;
    Worker* worker = nullptr;
    size_t index = 0;
  };

  Worker* find(int32_t id);
  Listener* find_open(int32_t id);
  void run();
  int add_source(Listener& listener, Descriptor descriptor, int32_t place);
  bool has_taker(const Source& source) const;
  void serve(Listener& listener, int most);
  void serve(Source& source, int most);
  bool accept_from(Source& source, const Choice& choice);
  void short_of(Source& source, int error);
  void close_sources(Listener& listener);
  bool finish_closing(Listener& listener);
  bool may_want(const Listener& listener, int32_t where) const;
  void part(Place& place);
  bool place_unplaced(Listener& listener);
  bool place_unplaced(Listener& listener, int32_t where, std::deque<Waiting>& waiting);
  Choice choose(const Listener& listener, int32_t where);
  Choice choose_or_starve(const Listener& listener, int32_t where);
  void give(const Choice& choice, int32_t where, Descriptor descriptor, const Address& peer);
  void take_back(Place& place);
  void watch(Source& source, bool on);
  void wake_touched();
  int rest_ms();
  void review();
  static uint32_t waiting(const Place& place);
  static uint32_t live(const Place& place);
  static uint32_t live(const Worker& worker);

  std::mutex mutex_;
  std::thread thread_;
  Descriptor epoll_;
  Descriptor wake_;
  bool stopping_ = false;
  int32_t last_id_ = 0;
  int failure_ = 0;
  SpareDescriptor spare_;
  Unrouted unrouted_;
  std::unordered_map<int32_t, std::unique_ptr<Listener>> listeners_;
  // Those of all listeners, by the id with which the epoll names them.
  std::unordered_map<int32_t, Source*> sources_;
  std::vector<std::unique_ptr<Worker>> workers_;
  // Who was given the last one, so that equals take turns.
  size_t last_ = 0;
};

}  // namespace marketplace::engine
