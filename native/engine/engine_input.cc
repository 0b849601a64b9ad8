// Receiving: from the kernel into slabs and records, up to FIN or an error.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

// Follows a growing stream at once and a shrinking one slowly.
uint32_t next_expected(uint32_t expected, uint32_t got, bool filled) {
  if (filled) return std::min(std::max(expected, got) * 2, SlabPool::lease_max);
  if (got >= expected) return got;
  return std::max(expected - (expected - got) / 8, SlabPool::lease_min);
}

}  // namespace

Memory Engine::memory_for(Socket& socket) {
  Connection& connection = static_cast<Connection&>(socket);
  // The host may have paused or closed it after the kernel reported it.
  if (!connection.halves.reads()) return Memory{};
  if (records_.size() >= options_.records_max) return Memory{};
  if (connection.account->throttles && connection.halves.minds_output()) {
    change(connection, Change::throttled);
    update_interest(connection);
    return Memory{};
  }
  uint32_t most = UINT32_MAX;
  if (connection.pace != nullptr) {
    most = connection.pace->bucket.available(connection.pace->rate, monotonic_ms());
    if (most == 0) {
      slow(connection);
      return Memory{};
    }
  }
  if (connection.tls != nullptr) {
    const uint32_t size = std::min<uint32_t>(sealed_input_size, most);
    if (!slabs_.empty()) return Memory{sealed_input_.get(), size, 0, 0};
    lacks_slabs(connection);
    return Memory{};
  }
  Memory memory = place_input(connection);
  if (memory.size == 0) lacks_slabs(connection);
  memory.size = std::min(memory.size, most);
  return memory;
}

// Memory for what a connection receives; size 0: there is no slab.
Memory Engine::place_input(const Connection& connection) {
  // The begin of a frame that was kept is put before what comes: then all of it is in one place.
  const Framing* framing = connection.framing.get();
  const uint32_t gap = framing == nullptr ? 0 : static_cast<uint32_t>(framing->kept.size());
  while (!slabs_.empty()) {
    const Memory memory = slabs_.lease(connection.expected + gap);
    if (memory.size > gap) {
      return Memory{memory.base + gap, memory.size - gap, memory.slab, memory.offset + gap};
    }
    give_up_slab(slabs_);
  }
  return Memory{};
}

void Engine::lacks_slabs(Traffic& socket) {
  if (starving_) return starve(socket);
  lack_slabs();
}

void Engine::lack_slabs() {
  if (!slabs_short_) report(Record::slabs_short(Purpose::input));
  slabs_short_ = true;
}

void Engine::give_up_slab(SlabPool& pool) {
  if (options_.reuses_slabs) return pool.put_aside();
  report(Record::slab_retired(pool.retire()));
}

// Where what was just received is to stay: right there, unless it is so short that it would pin
// much more memory than it has.
Memory Engine::keep(const Memory& memory, uint32_t length) {
  const Memory place = place_packed(small_, length);
  if (place.size == 0) {
    slabs_.commit(length);
    return memory;
  }
  std::memcpy(place.base, memory.base, length);
  return place;
}

// A place among short pieces for one of them. Size 0: it is none, or there is no memory for such.
Memory Engine::place_packed(Packed& packed, uint32_t length) {
  // What is used again is not pinned.
  if (length > packed.length_max || options_.reuses_slabs) return Memory{};
  while (!packed.slabs.empty()) {
    const Memory place = packed.slabs.place(length);
    if (place.size > 0) {
      packed.slabs.commit(length);
      return place;
    }
    give_up_slab(packed.slabs);
  }
  if (!packed.lacking) report(Record::slabs_short(packed.purpose));
  packed.lacking = true;
  return Memory{};
}

// A place for a datagram of any length. Size 0: there is no memory.
Memory Engine::place_for(uint32_t length) {
  const Memory place = place_packed(tiny_, length);
  return place.size > 0 ? place : place_any(length);
}

// The same, but not among the shortest.
Memory Engine::place_any(uint32_t length) {
  Memory place = place_packed(small_, length);
  while (place.size == 0 && !slabs_.empty()) {
    place = slabs_.place(length);
    if (place.size == 0) {
      give_up_slab(slabs_);
    } else {
      slabs_.commit(length);
    }
  }
  return place;
}

void Engine::add_slab(uint32_t slab, uint8_t* base, uint32_t size, Purpose purpose) {
  if (purpose == Purpose::tiny_input) return tiny_.slabs.add(slab, base, size);
  if (purpose == Purpose::small_input) return small_.slabs.add(slab, base, size);
  slabs_.add(slab, base, size);
  frame_keep_max_ = std::min(frame_keep_max_, size / 8);
  feed_starved();
}

void Engine::reuse_slabs() {
  slabs_.rewind(options_.poisons_slabs);
  if (!slabs_.empty()) feed_starved();
}

void Engine::replace_slabs() {
  for (uint32_t id = 0; slabs_.retire_aside(id);) report(Record::slab_retired(id));
}

void Engine::starve(Traffic& socket) {
  // Held for another reason, it is not read from anyway.
  if (socket.waiting.linked) return;
  change(socket, Change::starved);
  update_interest(socket);
}

void Engine::feed_starved() {
  while (!starved_.empty()) {
    Traffic& socket = *starved_.first();
    change(socket, Change::fed);
    // `flush` looks at what is wanted of it.
    touch(socket);
  }
}

// It has had its rate: a while later it may have some more. For all equally long, so that they are
// in order; and so long that each receives a worthwhile piece then.
void Engine::slow(Connection& connection) {
  constexpr int64_t pause_ms = 50;
  connection.pace->until_ms = monotonic_ms() + pause_ms;
  change(connection, Change::slowed);
  update_interest(connection);
  count_limit(connection.account, connection.listener, Limit::receive_rate);
  alarm_stale_ = true;
}

void Engine::release_slowed(int64_t now_ms) {
  while (!slowed_.empty()) {
    Traffic& socket = *slowed_.first();
    if (static_cast<Connection&>(socket).pace->until_ms > now_ms) return;
    change(socket, Change::unslowed);
    update_interest(socket);
  }
}

bool Engine::received(Socket& socket, const Memory& memory, ssize_t result) {
  Connection& connection = static_cast<Connection&>(socket);
  if (result > 0) {
    // TLS has announced the end: what comes behind it is for nobody.
    if (connection.halves.input() == Input::ended) return false;
    const uint32_t length = static_cast<uint32_t>(result);
    connection.idle.received = idle_.now();
    if (connection.pace != nullptr) connection.pace->bucket.take(length);
    if (connection.tls != nullptr) return receive_sealed(connection, memory, length);
    deliver(connection, memory, length);
    return true;
  }
  if (result < 0) {
    finish(connection, static_cast<int>(result), Call::read);
    return false;
  }
  // FIN, or the end of what there was to read after sending had failed.
  if (connection.halves.output() == Output::failed) {
    finish(connection, connection.halves.error(), Call::write);
    return false;
  }
  // Closed since what is wanted was last settled: nobody is told any more.
  if (connection.halves.closing()) {
    discarded(connection, 0);
    return false;
  }
  // TLS has announced it already.
  if (connection.halves.input() == Input::ended) return false;
  if (connection.tls != nullptr) return tls_ended(connection);
  input_over(connection);
  return false;
}

// Bytes of the peer's came, and are in memory from `place_input`.
void Engine::deliver(Connection& connection, const Memory& memory, uint32_t length) {
  // Here, as those of a handshake are no bytes for the host: a peer could stay silent behind it.
  if (connection.idle.due == Due::first_byte) IdleWheel::set_done(connection);
  connection.account->counters.bytes_in += length;
  if (connection.framing == nullptr) {
    report_data(connection, keep(memory, length), length);
  } else {
    const bool ended = received_frames(connection, memory, length);
    if (connection.idle.frame_limit > 0) time_frame(connection, ended);
  }
  // What is filled because no more was allowed says nothing.
  const bool filled = length == memory.size && connection.pace == nullptr;
  connection.expected = next_expected(connection.expected, length, filled);
}

// The peer sends nothing more. False without memory for what is to be reported first: the end is to
// be seen again when there is some.
bool Engine::input_over(Connection& connection) {
  if (!report_kept(connection)) return false;
  // Sending had failed, and what was left to read has been read.
  if (connection.halves.output() == Output::failed) {
    finish(connection, connection.halves.error(), Call::write);
    return true;
  }
  change(connection, Change::input_ended);
  connection.idle.expects = false;
  IdleWheel::set_done(connection);
  report(Record::end(connection.id));
  // Both directions are done: the host hears of it in one go.
  if (connection.halves.output() == Output::ended) {
    finish(connection, 0, Call::none);
  } else {
    update_interest(connection);
  }
  return true;
}

void Engine::discarded(Socket& socket, ssize_t result) {
  if (result > 0) return;
  // An error will show when the rest is sent.
  Connection& connection = static_cast<Connection&>(socket);
  change(connection, Change::discard_ended);
  update_interest(connection);
}

void Engine::hung_up(Socket& socket) {
  if (socket.kind == Kind::datagrams) {
    const int lost = pending_error(socket.descriptor.get());
    if (lost < 0) report(Record::receive_failed(socket.id, lost));
    return;
  }
  Connection& connection = static_cast<Connection&>(socket);
  // The next `flush` goes on from here.
  if (connection.halves.closing()) return;
  if (connection.halves.input() != Input::ended) return hung_up_unread(connection);
  const int error = pending_error(connection.descriptor.get());
  // After FIN was read, Linux turns a reset into EPIPE: it is the way to the peer that is lost.
  if (error == -EPIPE) return finish(connection, error, Call::write);
  finish(connection, error == 0 ? -ECONNRESET : error, Call::read);
}

// What the peer sent before it went is kept until reading goes on, and so is an orderly end. With
// nothing left to read, a loss is reported now: nobody may ever go on reading.
void Engine::hung_up_unread(Connection& connection) {
  const int result = peek_input(connection.descriptor.get());
  if (result < 0 && result != -EAGAIN) return finish(connection, result, Call::read);
  // The send that failed has taken the error away, which leaves what looks like an orderly end.
  if (result == 0 && connection.halves.output() == Output::failed) {
    return finish(connection, connection.halves.error(), Call::write);
  }
  // If it was held only by output, it is read from now.
  change(connection, Change::hung_up);
  update_interest(connection);
}

}  // namespace marketplace::engine
