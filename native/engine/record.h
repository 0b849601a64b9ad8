// What the engine reports, as eight 32-bit words per event, so that a batch of them can be handed
// to another language without a call per event. All words are signed: errno values are negative.
//
//   accepted       id, listener, port | family << 16, four address words
//   accept_failed  listener, errno
//   connected      id
//   data           id, slab, offset, length
//   end            id
//   written        id, bytes
//   closed         id, errno (0: orderly), call, bytes that were queued (31 bits' worth)
//   slab_retired   slab
//   slabs_short    1: of those for small pieces, 0: of the others
//   dropped        listener, how many, then port | family << 16 and four address words of the last
//   sender         socket, 0, then the same five words: who has sent the datagrams that follow as
//                  `data`, up to the next such record or the end of the turn
//   truncated      socket, length, the same of its sender: it was too long, and is lost
//   send_failed    socket, errno, the same of its receiver
//   receive_failed socket, errno
#pragma once

#include <cstdint>

namespace marketplace::engine {

enum class Event : int32_t {
  accepted = 1,
  accept_failed = 2,
  connected = 3,
  data = 4,
  end = 5,
  written = 6,
  closed = 7,
  // No more will be received into this slab: the host may give up its reference.
  slab_retired = 8,
  // Reading stopped for lack of slabs; it goes on when the host has added some. Or, of those for
  // small pieces: others were used instead.
  slabs_short = 9,
  // Connections were reset because the listener has as many as it may; once per turn at most.
  dropped = 10,
  sender = 11,
  truncated = 12,
  send_failed = 13,
  receive_failed = 14,
};

// The system call that an error belongs to, under the name that Node gives it.
enum class Call : int32_t {
  none = 0,
  listen = 1,
  accept = 2,
  connect = 3,
  read = 4,
  write = 5,
  shutdown = 6,
  poll = 7,
  idle = 8,     // no call: nothing came or went for too long
  silence = 9,  // no call: nothing came for too long
};

struct Record {
  Event event;
  int32_t id;
  int32_t a;
  int32_t b;
  int32_t c;
  int32_t d;
  int32_t e;
  int32_t f;
};
static_assert(sizeof(Record) == 8 * sizeof(int32_t), "a record is eight words, without padding");

}  // namespace marketplace::engine
