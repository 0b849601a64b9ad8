// Accepting without descriptors: who is told what, and that nothing spins.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "harness.h"

namespace marketplace::test {

namespace {

// Makes this process run out of descriptors until it ends. The limit comes first, as the kernel may
// look at it when it is asked to accept, not when it does.
class Shortage {
 public:
  explicit Shortage(rlim_t room) {
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &before_), 0);
    Descriptor next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlimit limit{static_cast<rlim_t>(next.get()) + room, before_.rlim_max};
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  ~Shortage() { setrlimit(RLIMIT_NOFILE, &before_); }

  void begin() {
    for (;;) {
      Descriptor filler(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!filler.valid()) break;
      fillers_.push_back(std::move(filler));
    }
  }
  void end() { fillers_.clear(); }

 private:
  rlimit before_{};
  std::vector<Descriptor> fillers_;
};

// How many of these have an end or a reset to read.
int ended(const std::vector<Descriptor>& clients) {
  return static_cast<int>(std::count_if(clients.begin(), clients.end(), [](const Descriptor& c) {
    char byte;
    const ssize_t n = ::recv(c.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
  }));
}

}  // namespace

TEST("out of descriptors: one report, no spin, and everything goes on afterwards") {
  Host host;
  Shortage shortage(200);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients;
  for (int i = 0; i < 60; i++) clients.push_back(dial(host.port(listener)));
  {
    shortage.begin();
    const int turns = host.run_for(350);
    CHECK_EQUAL(host.count(Event::accept_failed), 1);
    CHECK_EQUAL(host.last(Event::accept_failed)->id, listener);
    CHECK_EQUAL(host.last(Event::accept_failed)->a, -EMFILE);
    CHECK_EQUAL(host.count(Event::accepted), 0);
    // One per pause of 100 ms, twice: the pause's end is a turn, and so is the next failure.
    CHECK(turns <= 10 + 3 * idle_turns_max());
    shortage.end();
  }
  host.until([&] { return host.count(Event::accepted) >= 60 - 31; });
  host.run_for(20);
  // Some were told that there is no room, each by an end of its connection: 1, 2, 4 and 8 of them,
  // and 16 more on a machine that took its time.
  const int shed = 60 - host.count(Event::accepted);
  CHECK(shed >= 1 && shed <= 31);
  CHECK_EQUAL(ended(clients), shed);
}

TEST("out of descriptors for long: everybody that waits is told") {
  engine::Options options;
  options.accept_pause_ms = 1;
  Host host(options);
  Shortage shortage(200);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients;
  for (int i = 0; i < 60; i++) clients.push_back(dial(host.port(listener)));
  shortage.begin();
  host.until([&] { return ended(clients) == 60; });
  CHECK_EQUAL(host.count(Event::accept_failed), 1);
  CHECK_EQUAL(host.count(Event::accepted), 0);
  shortage.end();
  clients.push_back(dial(host.port(listener)));
  host.until([&] { return host.count(Event::accepted) == 1; });
}

}  // namespace marketplace::test
