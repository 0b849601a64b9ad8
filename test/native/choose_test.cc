// The choice of a backend where io_uring is forbidden or restricted, and what is said about it.
#include "../../native/engine/choose.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "../../native/engine/uring.h"
#include "harness.h"

namespace marketplace::test {

using engine::BackendInfo;
using engine::BackendName;

namespace {

constexpr uint32_t call_setup = 425;
constexpr uint32_t call_register = 427;

// Makes one system call fail from here on, as a container's profile does.
bool forbid(uint32_t call, uint32_t error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

struct Outcome {
  int error = 0;
  char text[512] = "";
};

// Chooses in a process of its own, in which a system call is forbidden: backend and reason.
Outcome choose_without(uint32_t call, uint32_t error, BackendName name) {
  int ends[2];
  CHECK_EQUAL(::pipe(ends), 0);
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    Outcome outcome;
    BackendInfo info;
    if (!forbid(call, error)) ::_exit(1);
    const auto backend = engine::choose_backend(name, info, outcome.error);
    const std::string text = std::string(info.backend) + "|" + info.reason;
    strncpy(outcome.text, text.c_str(), sizeof(outcome.text) - 1);
    const bool sane = (backend != nullptr) == (outcome.error == 0);
    ::_exit(sane && ::write(ends[1], &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
  }
  const Descriptor out(ends[1]);
  const Descriptor in(ends[0]);
  int status = -1;
  CHECK_EQUAL(::waitpid(child, &status, 0), child);
  CHECK_EQUAL(status, 0);
  Outcome outcome;
  CHECK_EQUAL(::read(in.get(), &outcome, sizeof(outcome)), sizeof(outcome));
  return outcome;
}

bool contains(const char* text, const char* part) {
  return strstr(text, part) != nullptr;
}

}  // namespace

TEST("what is asked for is what is used") {
  BackendInfo info;
  int error = -1;
  CHECK(engine::choose_backend(BackendName::epoll, info, error) != nullptr);
  CHECK_EQUAL(error, 0);
  CHECK(std::string(info.backend) == "epoll" && std::string(info.requested) == "epoll");
  CHECK(info.reason.empty());
}

TEST("io_uring that is forbidden is an error where it is asked for, with the reason") {
  for (const uint32_t error : {EPERM, ENOSYS, EINVAL, ENOMEM}) {
    const Outcome outcome = choose_without(call_setup, error, BackendName::io_uring);
    CHECK_EQUAL(outcome.error, -static_cast<int>(error));
    CHECK(contains(outcome.text, strerror(static_cast<int>(error))));
  }
  const Outcome outcome = choose_without(call_setup, EPERM, BackendName::io_uring);
  CHECK(contains(outcome.text, "seccomp"));
}

TEST("a ring that cannot be registered with is an error where it is asked for") {
  if (backend_is("epoll")) return;
  const Outcome outcome = choose_without(call_register, EPERM, BackendName::io_uring);
  CHECK(outcome.error < 0);
  CHECK(contains(outcome.text, "restricted"));
}

TEST("the automatic choice is io_uring exactly where it has all that it is chosen for") {
  engine::UringBackend ring;
  const bool opens = ring.open() == 0;
  const engine::UringFeatures& has = ring.features();
  const bool complete =
      opens && has.multishot_receive && has.incremental_buffers && has.batched_sends;
  BackendInfo info;
  int error = -1;
  CHECK(engine::choose_backend(BackendName::automatic, info, error) != nullptr);
  CHECK(std::string(info.backend) == (complete ? "io_uring" : "epoll"));
  CHECK(std::string(info.requested) == "auto");
  CHECK_EQUAL(info.reason.empty(), complete);
}

TEST("whatever is forbidden, the automatic choice is a backend that works") {
  for (const uint32_t call : {call_setup, call_register}) {
    const Outcome outcome = choose_without(call, EPERM, BackendName::automatic);
    CHECK_EQUAL(outcome.error, 0);
    CHECK(contains(outcome.text, "epoll|"));
  }
}

}  // namespace marketplace::test
