// The io_uring backend: completions, and what they mean for sockets; see uring.h.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "reading.h"
#include "socket.h"
#include "uring.h"
#include "uring_tag.h"

namespace marketplace::engine {

namespace {

// How a request ends that says nothing about its socket.
bool says_nothing(int result) {
  return result > 0 || result == -ECANCELED || result == -ENOBUFS || result == -EINTR ||
         result == -EAGAIN;
}

}  // namespace

void UringBackend::reap() {
  while (const uring::Cqe* cqe = ring_.peek()) {
    reap_one(*cqe);
    ring_.pop();
  }
}

void UringBackend::reap_one(const uring::Cqe& cqe) {
  const bool ended = (cqe.flags & uring::cqe_more) == 0;
  switch (request_of(cqe.user_data)) {
    case Request::send: {
      const uint64_t index = subject_of(cqe.user_data);
      if (index < results_.size()) results_[index] = cqe.res;
      return;
    }
    case Request::receive: {
      if (ended) in_flight_--;
      uring::Received bytes;
      if ((cqe.flags & uring::cqe_buffer) != 0) bytes = buffers_.take(cqe);
      // Never seen, and then never to be read: it is not known what the kernel wrote where.
      if (bytes.length > 0 && bytes.data == nullptr) broken_ = -EPROTO;
      completions_.push_back(Completion{cqe, bytes});
      return;
    }
    case Request::watch:
      in_flight_--;
      watch_armed_ = false;
      watch_ready_ = true;
      return;
    case Request::host:
      in_flight_--;
      host_armed_ = false;
      host_ready_ = true;
      return;
    case Request::none:
      return;
  }
}

// False if something has to wait for memory or for the next turn.
bool UringBackend::report_receives(BackendSink& sink) {
  while (completions_next_ < completions_.size()) {
    if (!sink.ready_for_more()) return false;
    if (!report_receive(sink, completions_[completions_next_])) return false;
    completions_next_++;
  }
  completions_.clear();
  completions_next_ = 0;
  return true;
}

bool UringBackend::report_receive(BackendSink& sink, Completion& completion) {
  const Key key = subject_of(completion.cqe.user_data);
  Socket* socket = sink.find(key);
  if (socket != nullptr && completion.bytes.length > 0) {
    if (!report_bytes(sink, *socket, completion.bytes)) return false;
    note_size(*socket, static_cast<uint32_t>(completion.cqe.res));
  }
  buffers_.done(completion.cqe);
  if (socket != nullptr && (completion.cqe.flags & uring::cqe_more) == 0) {
    socket->multishot = Multishot::idle;
    if (completion.cqe.res == -ENOBUFS) await_buffer(*socket);
    unsettle(*socket);
    if (!says_nothing(completion.cqe.res)) report_end(sink, *socket, completion.cqe.res);
  }
  return true;
}

// False if memory is short; `bytes` is then what is left. The socket stays.
bool UringBackend::report_bytes(BackendSink& sink, Socket& socket, uring::Received& bytes) {
  if (broken_ != 0) return true;
  const Key key = socket.key;
  while (bytes.length > 0) {
    Memory memory;
    if ((socket.wanted & want_discard) != 0) {
      sink.discarded(socket, bytes.length);
      return true;
    }
    if ((socket.wanted & want_receive) != 0 && !socket.stashed) {
      memory = sink.memory_for(socket);
      if (memory.size == 0 && !sink.ready_for_more()) return false;
    }
    if (memory.size == 0) {
      std::vector<uint8_t>& kept = stash(socket).bytes;
      kept.insert(kept.end(), bytes.data, bytes.data + bytes.length);
      return true;
    }
    const uint32_t part = std::min(bytes.length, memory.size);
    std::memcpy(memory.base, bytes.data, part);
    bytes.data += part;
    bytes.length -= part;
    // What came may have ended it.
    if (!sink.received(socket, memory, part) && sink.find(key) == nullptr) return true;
  }
  return true;
}

// FIN or an error. The socket may be gone afterwards.
void UringBackend::report_end(BackendSink& sink, Socket& socket, int result) {
  if ((socket.wanted & want_discard) != 0) return sink.discarded(socket, result);
  // A loss is news even for one that is paused, if it has read all there was.
  const bool wanted = (socket.wanted & want_receive) != 0 || result < 0;
  if (wanted && !socket.stashed) {
    sink.received(socket, Memory{}, result);
    return;
  }
  Stash& kept = stash(socket);
  kept.ended = true;
  kept.result = result;
}

// Chooses how the socket is read; `settle` makes it so.
void UringBackend::note_size(Socket& socket, uint32_t length) {
  if (!note_receive(socket, length) || socket.bulk) return;
  socket.bulk = true;
  bulk_.push_back(socket.key);
  unsettle(socket);
}

// Takes back those that receive small pieces now, now and then: nothing depends on how soon.
void UringBackend::review_bulk(BackendSink& sink) {
  if (++bulk_turns_ % bulk_review != 0) return;
  std::erase_if(bulk_, [&](Key key) {
    Socket* socket = sink.find(key);
    if (socket == nullptr) return true;
    if (socket->bulk_score > 0) return false;
    socket->bulk = false;
    unsettle(*socket);
    return true;
  });
}

UringBackend::Stash& UringBackend::stash(Socket& socket) {
  if (!socket.stashed) {
    socket.stashed = true;
    // Now, not at the end of the turn: the kernel would go on to receive into what is copied here.
    cancel_receive(socket);
    unsettle(socket);
    if ((socket.wanted & (want_receive | want_discard)) != 0) {
      resumed_.push_back(socket.key);
    }
  }
  return stashes_[socket.key];
}

// What was kept for sockets that are wanted again.
void UringBackend::report_stashes(BackendSink& sink) {
  size_t done = 0;
  while (done < resumed_.size() && sink.ready_for_more()) {
    Socket* socket = sink.find(resumed_[done]);
    if (socket != nullptr && socket->stashed && !report_stash_of(sink, *socket)) break;
    done++;
  }
  resumed_.erase(resumed_.begin(), resumed_.begin() + static_cast<ptrdiff_t>(done));
}

// False if memory is short.
bool UringBackend::report_stash_of(BackendSink& sink, Socket& socket) {
  const bool discard = (socket.wanted & want_discard) != 0;
  // Paused again.
  if (!discard && (socket.wanted & want_receive) == 0) return true;
  const Key key = socket.key;
  Stash& kept = stashes_[key];
  while (!discard && kept.reported < kept.bytes.size()) {
    // What came may have paused it, or have been the last that is for anybody.
    if ((socket.wanted & want_receive) == 0) return true;
    const Memory memory = sink.memory_for(socket);
    if (memory.size == 0) return sink.ready_for_more();
    const size_t left = kept.bytes.size() - kept.reported;
    const uint32_t part = static_cast<uint32_t>(std::min<size_t>(left, memory.size));
    std::memcpy(memory.base, kept.bytes.data() + kept.reported, part);
    kept.reported += part;
    if (!sink.received(socket, memory, part) && sink.find(key) == nullptr) return true;
  }
  const bool ended = kept.ended;
  const int result = kept.result;
  // A loss is news for any.
  if (!discard && ended && result == 0 && (socket.wanted & want_receive) == 0) return true;
  stashes_.erase(key);
  socket.stashed = false;
  unsettle(socket);
  if (!ended) return true;
  if (discard)
    sink.discarded(socket, result);
  else
    sink.received(socket, Memory{}, result);
  return true;
}

}  // namespace marketplace::engine
