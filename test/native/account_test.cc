// Accounts: one engine for several users, whose limits, counters and deadlines are each their own.
#include <cerrno>

#include "harness.h"

namespace marketplace::test {

namespace {

constexpr size_t too_much = 32 * 1024 * 1024;

std::shared_ptr<engine::Account> account_of(const engine::Limits& limits) {
  return std::make_shared<engine::Account>(limits);
}

// A listener whose connections are of that account.
uint32_t listen(Host& host, const std::shared_ptr<engine::Account>& account) {
  Address address;
  CHECK_EQUAL(Address::parse("127.0.0.1", 0, address), 0);
  const int32_t id = host.engine.listen(address, {}, account);
  CHECK(id > 0);
  return static_cast<uint32_t>(id);
}

}  // namespace

TEST("what is queued counts for its own account, and so does its limit") {
  for (const bool pauses : {false, true}) {
    engine::Limits narrow;
    narrow.queued_total_max = 1'000'000;
    narrow.overflow_pauses = pauses;
    Host host;
    const auto limited = account_of(narrow);
    const auto other = account_of({});
    Descriptor slow;
    Descriptor wide;
    const uint32_t slow_id = host.accept(listen(host, limited), slow);
    const uint32_t wide_id = host.accept(listen(host, other), wide);
    const std::string data = pattern(too_much, 1);
    host.write(wide_id, data);
    CHECK(other->counters.queued_bytes > 1'000'000);
    host.write(slow_id, data);
    // Without a pause it was reset.
    if (pauses) send_all(slow, "from slow");
    send_all(wide, "from wide");
    host.until([&] { return host.input[static_cast<int32_t>(wide_id)] == "from wide"; });
    if (pauses) {
      CHECK(limited->throttles && !other->throttles);
      CHECK(host.input[static_cast<int32_t>(slow_id)].empty());
      CHECK_EQUAL(host.engine.queued_bytes(),
                  limited->counters.queued_bytes + other->counters.queued_bytes);
    } else {
      host.until([&] { return host.count(Event::closed) == 1; });
      CHECK_EQUAL(host.last(Event::closed)->id, slow_id);
      CHECK_EQUAL(host.last(Event::closed)->a, -ENOBUFS);
      CHECK_EQUAL(limited->counters.queued_bytes, 0);
    }
    std::string received;
    host.until([&] {
      received += read_some(wide, 1'000'000);
      return received.size() == data.size();
    });
    CHECK(received == data);
    host.until([&] { return other->counters.queued_bytes == 0; });
    CHECK_EQUAL(other->counters.bytes_out, data.size());
    CHECK_EQUAL(other->counters.writes, 1);
    CHECK_EQUAL(other->counters.bytes_in, 9);
    CHECK_EQUAL(host.engine.counters().bytes_out, 0);
  }
}

TEST("each account's connections have its time to close, whichever began first") {
  engine::Limits patient;
  patient.close_timeout_ms = 60'000;
  engine::Limits brief;
  brief.close_timeout_ms = 50;
  Host host;
  const auto long_account = account_of(patient);
  auto short_account = account_of(brief);
  Descriptor first;
  Descriptor second;
  Descriptor third;
  const uint32_t first_id = host.accept(listen(host, long_account), first);
  const uint32_t listener = listen(host, short_account);
  const uint32_t second_id = host.accept(listener, second);
  const uint32_t third_id = host.accept(listener, third);
  host.engine.close_listener(listener);
  // Nobody but its connections has it now.
  short_account.reset();
  const std::string data = pattern(too_much, 1);
  for (const uint32_t id : {first_id, second_id, third_id}) {
    host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
    host.engine.close(id);
  }
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 2; });
  CHECK_EQUAL(host.last(Event::closed, static_cast<int32_t>(second_id))->a, -ETIMEDOUT);
  CHECK_EQUAL(host.last(Event::closed, static_cast<int32_t>(third_id))->a, -ETIMEDOUT);
  int error = -1;
  CHECK(read_all(host, first, error) == data);
  CHECK_EQUAL(error, 0);
}

TEST("the host is told of each account whose counters have changed, once") {
  Host host;
  const auto one = account_of({});
  const auto other = account_of({});
  Descriptor client;
  const uint32_t id = host.accept(listen(host, one), client);
  listen(host, other);
  const auto changed = [&host] {
    std::vector<const engine::Account*> accounts;
    host.engine.take_changed([&](const engine::Account& account) { accounts.push_back(&account); });
    return accounts;
  };
  changed();
  host.write(id, "abc");
  host.write(id, "def");
  CHECK(changed() == std::vector<const engine::Account*>{one.get()});
  CHECK(changed().empty());
  CHECK_EQUAL(one->counters.writes, 2);
  CHECK_EQUAL(one->counters.bytes_out, 6);
}

}  // namespace marketplace::test
