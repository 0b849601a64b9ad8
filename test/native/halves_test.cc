// The table of what each change makes of a socket's halves: every change in every state.
#include "../../native/engine/halves.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <tuple>

#include "harness.h"

namespace marketplace::test {

using namespace engine;

namespace {

constexpr Input inputs[] = {Input::open, Input::held, Input::ended};
constexpr Output outputs[] = {Output::open, Output::shutting, Output::ended, Output::failed};
constexpr Stage stages[] = {Stage::connecting, Stage::withdrawn, Stage::open, Stage::hung_up,
                            Stage::closing};

char letter(const char* letters, size_t index) {
  return letters[index];
}

template <typename State>
char letter(const char* letters, State state) {
  return letter(letters, static_cast<size_t>(state));
}

template <typename Visitor>
void each_state(Visitor visit) {
  for (const Input input : inputs) {
    for (const Output output : outputs) {
      for (const Stage stage : stages) {
        for (uint8_t held = 0; held <= by_anything; held++) {
          if ((input == Input::held) == (held != 0)) visit(Halves(input, held, output, stage));
        }
      }
    }
  }
}

// Whether the process that does it is ended by `abort`.
bool aborts(Halves halves, Change change) {
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    const int nowhere = ::open("/dev/null", O_WRONLY);
    static_cast<void>(::dup2(nowhere, STDERR_FILENO));
    static_cast<void>(std::signal(SIGABRT, SIG_DFL));
    halves.apply(change);
    ::_exit(0);
  }
  int status = 0;
  CHECK_EQUAL(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace

TEST("halves: every change in every state leads where the table says") {
  for (const Transition& row : transitions) {
    each_state([&](const Halves& before) {
      const char input = letter(row.input, before.input());
      const char output = letter(row.output, before.output());
      const char stage = letter(row.stage, before.stage());
      const bool allowed = input != '-' && output != '-' && stage != '-';
      CHECK_EQUAL(before.allows(row.change), allowed);
      if (!allowed) return;
      Halves after = before;
      after.apply(row.change);
      CHECK_EQUAL(letter(output_letters, after.output()), output);
      CHECK_EQUAL(letter(stage_letters, after.stage()), stage);
      const int reasons = input == 'e' ? 0 : (before.held() | row.adds) & ~row.takes;
      CHECK_EQUAL(after.held(), reasons);
      CHECK_EQUAL(letter(input_letters, after.input()), reasons != 0 ? 'h' : input);
    });
  }
}

TEST("halves: a change that the table forbids in one of the three ends the process") {
  // The same for every backend.
  if (!backend_is("epoll")) return;
  for (const Transition& row : transitions) {
    // Each forbidden cell once, in a state whose other parts allow the change.
    std::set<std::pair<int, char>> seen;
    each_state([&](const Halves& halves) {
      const char forbidden[] = {letter(row.input, halves.input()),
                                letter(row.output, halves.output()),
                                letter(row.stage, halves.stage())};
      const char states[] = {letter(input_letters, halves.input()),
                             letter(output_letters, halves.output()),
                             letter(stage_letters, halves.stage())};
      int part = -1;
      for (int i = 0; i < 3; i++) {
        if (forbidden[i] != '-') continue;
        if (part >= 0) return;
        part = i;
      }
      if (part < 0 || !seen.emplace(part, states[part]).second) return;
      CHECK(aborts(halves, row.change));
    });
    size_t cells = 0;
    for (const char* text : {row.input, row.output, row.stage}) {
      for (; *text != '\0'; text++) cells += *text == '-' ? 1 : 0;
    }
    CHECK_EQUAL(seen.size(), cells);
  }
  CHECK(!aborts(Halves(), Change::closed));
}

TEST("halves: nothing that has ended begins again, and what is allowed can come about") {
  std::set<std::tuple<Input, int, Output, Stage>> known;
  std::vector<Halves> open = {Halves(), Halves(Stage::connecting)};
  std::set<std::pair<Change, int>> used;
  while (!open.empty()) {
    const Halves before = open.back();
    open.pop_back();
    if (!known.emplace(before.input(), before.held(), before.output(), before.stage()).second) {
      continue;
    }
    CHECK_EQUAL(before.input() == Input::held, before.held() != 0);
    for (const Transition& row : transitions) {
      if (!before.allows(row.change)) continue;
      Halves after = before;
      after.apply(row.change);
      CHECK(before.input() != Input::ended || after.input() == Input::ended);
      CHECK(after.output() >= before.output());
      CHECK(!before.closing() || after.closing());
      CHECK(before.connecting() || !after.connecting());
      open.push_back(after);
      used.emplace(row.change, static_cast<int>(before.input()));
      used.emplace(row.change, 10 + static_cast<int>(before.output()));
      used.emplace(row.change, 20 + static_cast<int>(before.stage()));
    }
  }
  size_t cells = 0;
  for (const Transition& row : transitions) {
    for (const char* text : {row.input, row.output, row.stage}) {
      for (; *text != '\0'; text++) cells += *text == '-' ? 0 : 1;
    }
  }
  CHECK_EQUAL(used.size(), cells);
}

}  // namespace marketplace::test
