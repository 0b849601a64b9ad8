// Frames in what is received: which bytes are reported with their ends, which are kept until their
// frame is whole, and how the host's wishes change that. The search itself is in framer.h.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "engine.h"

namespace marketplace::engine {

namespace {

// What was kept is reported: little memory stays for the next time.
void forget(std::vector<uint8_t>& kept) {
  constexpr size_t capacity_max = 512;
  if (kept.capacity() > capacity_max) {
    std::vector<uint8_t>().swap(kept);
  } else {
    kept.clear();
  }
}

Memory part(const Memory& memory, uint32_t from) {
  return Memory{memory.base + from, memory.size - from, memory.slab, memory.offset + from};
}

}  // namespace

void Engine::report_data(Connection& connection, const Memory& place, uint32_t length) {
  connection.reported += length;
  report(Record::data(connection.id, place.slab, place.offset, length));
}

// With the marks from `first` on.
void Engine::report_frames(Connection& connection, const Memory& place, uint32_t length,
                           size_t first) {
  const uint32_t count = static_cast<uint32_t>(marks_.size() - first);
  // It is where the bytes end.
  if (count == 1) marks_.pop_back();
  connection.reported += length;
  report(Record::frames(connection.id, place.slab, place.offset, length, count,
                        static_cast<uint32_t>(first), connection.framing->generation));
}

// Before the memory there is a gap for what was kept. Whether a frame has ended.
bool Engine::received_frames(Connection& connection, const Memory& memory, uint32_t length) {
  Framing& framing = *connection.framing;
  std::vector<uint8_t>& kept = framing.kept;
  const uint32_t gap = static_cast<uint32_t>(kept.size());
  const size_t first = marks_.size();
  bool usual = !framing.spills;
  uint32_t whole = 0;
  while (usual && whole < length) {
    if (marks_.size() >= options_.marks_max) {
      usual = false;
      break;
    }
    const auto [outcome, found] = framing.framer.scan(memory.base + whole, length - whole);
    if (outcome != Framer::Outcome::whole) {
      usual = outcome == Framer::Outcome::partial;
      break;
    }
    assert(found > 0 && found <= length - whole);
    whole += static_cast<uint32_t>(found);
    marks_.push_back(static_cast<int32_t>(gap + whole));
  }
  const uint8_t* begin = memory.base + whole;
  const uint8_t* end = memory.base + length;
  if (usual && whole == 0 && gap + length <= frame_keep_max_) {
    kept.insert(kept.end(), begin, end);
    return false;
  }
  const Memory all{memory.base - gap, memory.size + gap, memory.slab, memory.offset - gap};
  if (gap > 0) std::memcpy(all.base, kept.data(), gap);
  forget(kept);
  uint32_t reported = gap + length;
  if (usual && whole > 0 && length - whole <= frame_keep_max_) {
    kept.assign(begin, end);
    reported = gap + whole;
  }
  const Memory place = keep(all, reported);
  const uint32_t run = whole == 0 ? 0 : gap + whole;
  if (run > 0) report_frames(connection, place, run, first);
  if (run < reported && usual) {
    report_frames(connection, part(place, run), reported - run, marks_.size());
  } else if (run < reported) {
    report_data(connection, part(place, run), reported - run);
  }
  if (!usual) stop_framing(connection);
  return whole > 0;
}

// A frame that has begun has to end in time; a new one has all of it. `anew`: it is another one
// than before.
void Engine::time_frame(Connection& connection, bool anew) {
  const IdleLink& idle = connection.idle;
  const Framing* framing = connection.framing.get();
  if (framing == nullptr || framing->spills || !framing->framer.begun()) {
    if (idle.due == Due::frame) IdleWheel::set_done(connection);
  } else if (anew || idle.due != Due::frame) {
    set_due(connection, Due::frame, idle.frame_limit);
  }
}

// Nothing is kept any more. From now on all is bytes.
void Engine::stop_framing(Connection& connection) {
  assert(connection.framing->kept.empty());
  connection.framing.reset();
}

// False if there is no memory to do so.
bool Engine::report_kept(Connection& connection) {
  if (connection.framing == nullptr || connection.framing->kept.empty()) return true;
  std::vector<uint8_t>& kept = connection.framing->kept;
  const uint32_t length = static_cast<uint32_t>(kept.size());
  const Memory place = place_any(length);
  if (place.size == 0) {
    lacks_slabs(connection);
    return false;
  }
  std::memcpy(place.base, kept.data(), length);
  forget(kept);
  if (connection.framing->spills) {
    report_data(connection, place, length);
  } else {
    report_frames(connection, place, length, marks_.size());
  }
  return true;
}

void Engine::frame(uint32_t id, const FrameOrder& order) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return;
  const Halves& halves = connection->halves;
  if (halves.connecting() || halves.closing() || halves.input() == Input::ended) return;
  if (connection->framing != nullptr && !connection->framing->kept.empty()) {
    // The host has to see it before it can say where frames begin.
    connection->framing->spills = true;
    if (report_kept(*connection)) {
      stop_framing(*connection);
    } else {
      spilling_.push_back(connection->key);
    }
  } else {
    connection->framing.reset();
    if (Framer::takes(order) && order.position == connection->reported) {
      connection->framing = std::make_unique<Framing>(order);
    }
  }
  if (connection->idle.frame_limit > 0) time_frame(*connection, true);
}

// There may be memory by now.
void Engine::spill_again() {
  std::erase_if(spilling_, [this](Key key) {
    Connection* connection = sockets_.find_key<Connection>(key);
    if (connection == nullptr || connection->framing == nullptr) return true;
    const Halves& halves = connection->halves;
    // Nobody is told of it any more, or has been by now.
    if (halves.closing() || halves.input() == Input::ended) return true;
    if (!connection->framing->spills) return true;
    if (!report_kept(*connection)) return false;
    stop_framing(*connection);
    return true;
  });
}

}  // namespace marketplace::engine
