// What a socket's two directions are doing, and what becomes of that: an input half, an output
// half, and the stage that the socket as a whole is in.
//
//   input   open      what arrives is read
//           held      it is not, for one or more reasons, and will be when the last of them is gone
//           ended     no more can arrive: FIN was read
//   output  open      what the host writes is sent
//           shutting  FIN is to follow what waits to be sent
//           ended     FIN was sent
//           failed    sending failed with an errno, while something may be left to read
//   stage   connecting, open
//           withdrawn the host closed it while it was connecting: what it wrote is still to be sent
//           hung_up   the kernel said that the peer is gone, and something may be left to read
//           closing   the host closed it: what arrives is thrown away, and it ends when all
//                     output has gone, or at the deadline
//
// Invariants: the state changes by `apply` alone; the input half is held exactly if there is a
// reason; a change that the table forbids in the state that it meets ends the process, in every
// build, as whatever was decided by that state is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace marketplace::engine {

enum class Input : uint8_t { open, held, ended };
enum class Output : uint8_t { open, shutting, ended, failed };
enum class Stage : uint8_t { connecting, withdrawn, open, hung_up, closing };

// Why an input half is held; a set of bits.
constexpr uint8_t by_host = 1;          // the host paused it
constexpr uint8_t by_slabs = 2;         // it had input, but there was no slab for it
constexpr uint8_t by_own_output = 4;    // too much waits to be sent by the same socket
constexpr uint8_t by_total_output = 8;  // it had input, and too much waits of all of its account
constexpr uint8_t by_tls = 16;          // it had input that can't be decrypted at present
constexpr uint8_t by_rate = 32;         // it has had as much as it may for the time being
constexpr uint8_t by_output = by_own_output | by_total_output;
constexpr uint8_t by_anything = by_host | by_slabs | by_output | by_tls | by_rate;

enum class Change : uint8_t {
  connected,      // the attempt to connect succeeded
  paused,         // by the host
  resumed,        // by the host
  starved,        // it has input, and there is no slab
  fed,            // there are slabs again
  filled,         // its output has become too long
  drained,        // and short enough again
  throttled,      // it has input, and the output of its account is too long
  unthrottled,    // that is short enough again
  tls_stuck,      // it has input, and decrypting that has to wait
  tls_freed,      // all of that was decrypted
  slowed,         // it has input, and has had its rate
  unslowed,       // there may be some more of it
  hung_up,        // the peer is gone, and something is left to read, or may be
  input_ended,    // FIN was read
  discard_ended,  // FIN or an error came in place of something to throw away
  shut,           // the host wants FIN to follow the output; or closes
  shut_sent,      // FIN was sent
  send_failed,    // as the peer is gone, and somebody reads what may be left
  closed,         // by the host
};

// What a change makes of each half and of the stage, and which reasons to hold the input half it
// adds and takes away.
struct Transition {
  Change change;
  const char* input;
  const char* output;
  const char* stage;
  uint8_t adds;
  uint8_t takes;
};

// A state is the first letter of its name (closing: x). In a row, below the state that is, stands
// the one that follows; a minus where the change can't be. An input half that becomes open stays
// held while there are other reasons.
//
// A peer that is gone sends no more than the kernel has: how much output waits is no reason to put
// off reading that. A pause or its end makes `hung_up` open, as the backend then is to say again
// that the peer is gone: nothing may be left to read by then.
// clang-format off
constexpr Transition transitions[] = {
  //                      input   output  stage
  //                       ohe     osef    cwohx    added, taken
  {Change::connected,     "oh-",  "os--", "ox---", 0, 0},
  {Change::paused,        "hh-",  "osef", "c-oo-", by_host, 0},
  {Change::resumed,       "-o-",  "osef", "c-oo-", 0, by_host},
  {Change::starved,       "hh-",  "osef", "--oh-", by_slabs, 0},
  {Change::fed,           "-o-",  "osef", "--oh-", 0, by_slabs},
  {Change::filled,        "hhe",  "os--", "c-o--", by_own_output, 0},
  {Change::drained,       "-o-",  "os--", "--o--", 0, by_own_output},
  {Change::throttled,     "hh-",  "ose-", "--o--", by_total_output, 0},
  {Change::unthrottled,   "-o-",  "ose-", "--o--", 0, by_total_output},
  {Change::tls_stuck,     "hh-",  "osef", "--oh-", by_tls, 0},
  {Change::tls_freed,     "-o-",  "osef", "--oh-", 0, by_tls},
  {Change::slowed,        "hh-",  "osef", "--oh-", by_rate, 0},
  {Change::unslowed,      "-o-",  "osef", "--oh-", 0, by_rate},
  {Change::hung_up,       "oo-",  "osef", "--h--", 0, by_output},
  {Change::input_ended,   "ee-",  "ose-", "--oh-", 0, by_anything},
  {Change::discard_ended, "e--",  "ose-", "----x", 0, by_anything},
  {Change::shut,          "ohe",  "s---", "cwohx", 0, 0},
  {Change::shut_sent,     "ohe",  "-e--", "--ohx", 0, 0},
  {Change::send_failed,   "oo-",  "ff--", "--oh-", 0, by_output},
  {Change::closed,        "ooe",  "osef", "w-xx-", 0, by_anything},
};
// clang-format on

constexpr char input_letters[] = "ohe";
constexpr char output_letters[] = "osef";
constexpr char stage_letters[] = "cwohx";

constexpr bool in_order() {
  for (size_t i = 0; i < std::size(transitions); i++) {
    if (transitions[i].change != static_cast<Change>(i)) return false;
  }
  return std::size(transitions) == static_cast<size_t>(Change::closed) + 1;
}
static_assert(in_order(), "each change has its row");

class Halves {
 public:
  constexpr explicit Halves(Stage stage = Stage::open) : stage_(stage) {}
  // In any state, for tests.
  constexpr Halves(Input input, uint8_t held, Output output, Stage stage)
      : input_(input), held_(held), output_(output), stage_(stage) {}

  constexpr Input input() const { return input_; }
  constexpr Output output() const { return output_; }
  constexpr Stage stage() const { return stage_; }
  // Why the input half is held.
  constexpr uint8_t held() const { return held_; }
  constexpr bool held(uint8_t reason) const { return (held_ & reason) != 0; }
  // Why the output half failed: negative errno.
  constexpr int32_t error() const { return error_; }

  constexpr bool connecting() const { return stage_ <= Stage::withdrawn; }
  constexpr bool closing() const { return stage_ == Stage::closing || stage_ == Stage::withdrawn; }
  // Connected, and not closed by the host.
  constexpr bool established() const { return stage_ == Stage::open || stage_ == Stage::hung_up; }
  // Whether it is read from.
  constexpr bool reads() const { return input_ == Input::open && established(); }
  // The same but for what is none of the host's concern: whether the host waits for input.
  constexpr bool awaits_input() const {
    return input_ != Input::ended && !held(by_host) && established();
  }
  // Whether the host may write.
  constexpr bool takes_output() const { return output_ == Output::open && !closing(); }
  // Whether output that waits is a reason not to read.
  constexpr bool minds_output() const {
    return output_ != Output::failed && (stage_ == Stage::connecting || stage_ == Stage::open);
  }

  // Whether the table has the change for this state.
  constexpr bool allows(Change change) const {
    const Transition& row = row_of(change);
    return at(row.input, input_) != '-' && at(row.output, output_) != '-' &&
           at(row.stage, stage_) != '-';
  }

  constexpr void apply(Change change) {
    if (!allows(change)) forbid(change);
    const Transition& row = row_of(change);
    input_ = static_cast<Input>(place(at(row.input, input_), input_letters));
    output_ = static_cast<Output>(place(at(row.output, output_), output_letters));
    stage_ = static_cast<Stage>(place(at(row.stage, stage_), stage_letters));
    held_ = static_cast<uint8_t>((held_ | row.adds) & ~row.takes);
    if (input_ == Input::ended) held_ = 0;
    if (input_ == Input::open && held_ != 0) input_ = Input::held;
  }

  // Of an output half that failed.
  void set_error(int32_t error) { error_ = error; }

 private:
  static constexpr const Transition& row_of(Change change) {
    return transitions[static_cast<size_t>(change)];
  }
  template <typename State>
  static constexpr char at(const char* row, State state) {
    return row[static_cast<size_t>(state)];
  }
  static constexpr size_t place(char letter, const char* letters) {
    size_t place = 0;
    while (letters[place] != letter) place++;
    return place;
  }

  [[noreturn]] void forbid(Change change) const {
    std::fprintf(stderr, "marketplace: change %d can't be: input %c (%d), output %c, stage %c\n",
                 static_cast<int>(change), at(input_letters, input_), held_,
                 at(output_letters, output_), at(stage_letters, stage_));
    std::abort();
  }

  Input input_ = Input::open;
  uint8_t held_ = 0;
  Output output_ = Output::open;
  Stage stage_;
  int32_t error_ = 0;
};

}  // namespace marketplace::engine
