// When waits are taken for short ones, with a clock of the test's.
#include "../../native/engine/waits.h"

#include "harness.h"

namespace marketplace::test {

using engine::Waits;

namespace {

constexpr uint64_t limit = 100'000;

struct Clock {
  Waits waits{limit};
  uint64_t now = 1'000'000'000;

  bool wait(uint64_t time) {
    waits.begin(now);
    now += time;
    waits.end(now);
    // What is done then is no wait.
    now += 10 * limit;
    return waits.are_short();
  }
};

}  // namespace

TEST("waits: none is short before one was") {
  Clock clock;
  CHECK(!clock.waits.are_short());
  clock.waits.end(clock.now);
  CHECK(!clock.waits.are_short());
  CHECK(!clock.wait(limit));
  CHECK(clock.wait(limit / 2));
}

TEST("waits: as long as they are below the limit they are short, from it on they are not") {
  Clock clock;
  for (int i = 0; i < 1000; i++) CHECK(clock.wait(limit - limit / 10));
  bool is_short = true;
  for (int i = 0; i < 1000; i++) is_short = clock.wait(limit + limit / 10);
  CHECK(!is_short);
}

TEST("waits: a long one ends it at once, however many short ones were before; five begin it") {
  Clock clock;
  for (int i = 0; i < 1000; i++) clock.wait(1);
  CHECK(clock.waits.are_short());
  CHECK(!clock.wait(4 * limit));
  for (int i = 0; i < 1000; i++) CHECK(!clock.wait(1'000'000 * limit));
  for (int i = 0; i < 4; i++) CHECK(!clock.wait(1));
  CHECK(clock.wait(1));
}

TEST("waits: short and long in turns are long") {
  Clock clock;
  for (int i = 0; i < 10; i++) {
    clock.wait(1);
    clock.wait(10 * limit);
  }
  for (int i = 0; i < 100; i++) {
    CHECK(!clock.wait(1));
    CHECK(!clock.wait(10 * limit));
  }
}

TEST("waits: one is counted from where it began, however often it is begun anew") {
  Clock clock;
  CHECK(clock.wait(1));
  for (int i = 0; i < 100; i++) {
    clock.waits.begin(clock.now);
    clock.now += limit / 10;
  }
  clock.waits.end(clock.now);
  CHECK(!clock.waits.are_short());
}

}  // namespace marketplace::test
