// The part of io_uring's kernel interface that the engine uses, with the values of the ABI: system
// headers are often older than the kernel, and a build must not depend on how old.
//
// Invariants: the layouts are the kernel's, which never change; nothing here makes a system call.
#pragma once

#include <cstdint>

namespace marketplace::engine::uring {

struct Sqe {
  uint8_t opcode;
  uint8_t flags;
  uint16_t ioprio;  // flags of receive and send
  int32_t fd;
  uint64_t off;
  uint64_t addr;
  uint32_t len;
  uint32_t op_flags;
  uint64_t user_data;
  uint16_t buf_group;
  uint16_t personality;
  int32_t file_index;
  uint64_t addr3;
  uint64_t reserved;
};
static_assert(sizeof(Sqe) == 64);

struct Cqe {
  uint64_t user_data;
  int32_t res;
  uint32_t flags;
};
static_assert(sizeof(Cqe) == 16);

struct SqOffsets {
  uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved;
  uint64_t user_addr;
};

struct CqOffsets {
  uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, reserved;
  uint64_t user_addr;
};

struct Params {
  uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
  uint32_t reserved[3];
  SqOffsets sq;
  CqOffsets cq;
};
static_assert(sizeof(Params) == 120);

// One entry of a ring of provided buffers. The ring's tail lies in the last field of entry 0.
struct Buffer {
  uint64_t addr;
  uint32_t len;
  uint16_t id;
  uint16_t tail;
};
static_assert(sizeof(Buffer) == 16);

struct BufferRegistration {
  uint64_t ring_addr;
  uint32_t ring_entries;
  uint16_t group;
  uint16_t flags;
  uint64_t reserved[3];
};
static_assert(sizeof(BufferRegistration) == 40);

struct ProbeOperation {
  uint8_t opcode;
  uint8_t reserved;
  uint16_t flags;
  uint32_t reserved2;
};

struct Probe {
  static constexpr uint32_t operations_max = 64;
  uint8_t last_op;
  uint8_t count;
  uint16_t reserved;
  uint32_t reserved2[3];
  ProbeOperation operations[operations_max];
};

enum Opcode : uint8_t {
  op_nop = 0,
  op_poll_add = 6,
  op_sendmsg = 9,
  op_cancel = 14,
  op_read = 22,
  op_send = 26,
  op_receive = 27,
};

constexpr uint32_t setup_cqsize = 1u << 3;
constexpr uint32_t setup_clamp = 1u << 4;
constexpr uint32_t setup_submit_all = 1u << 7;
constexpr uint32_t setup_taskrun_flag = 1u << 9;
constexpr uint32_t setup_single_issuer = 1u << 12;
constexpr uint32_t setup_defer_taskrun = 1u << 13;

constexpr uint32_t feature_single_mmap = 1u << 0;
constexpr uint32_t feature_nodrop = 1u << 1;
constexpr uint32_t feature_ext_argument = 1u << 8;

constexpr uint32_t enter_getevents = 1u << 0;
constexpr uint32_t enter_ext_argument = 1u << 3;

// What `enter` waits for besides completions.
struct Timespec {
  int64_t seconds;
  int64_t nanoseconds;
};
struct WaitArgument {
  uint64_t signal_mask;
  uint32_t signal_mask_size;
  uint32_t min_wait_us;
  uint64_t timeout;
};
static_assert(sizeof(WaitArgument) == 24);

constexpr uint32_t sq_cq_overflow = 1u << 1;
constexpr uint32_t sq_taskrun = 1u << 2;
constexpr uint32_t cq_eventfd_disabled = 1u << 0;

constexpr uint32_t register_eventfd = 4;
constexpr uint32_t register_probe = 8;
constexpr uint32_t register_buffer_ring = 22;

constexpr uint16_t probe_supported = 1u << 0;
constexpr uint16_t buffer_ring_incremental = 1u << 1;

constexpr uint8_t sqe_buffer_select = 1u << 5;
constexpr uint8_t sqe_skip_success = 1u << 6;
constexpr uint16_t receive_multishot = 1u << 1;
constexpr uint32_t cancel_all = 1u << 0;
constexpr uint32_t cancel_any = 1u << 2;

constexpr uint32_t cqe_buffer = 1u << 0;
constexpr uint32_t cqe_more = 1u << 1;
// The buffer is not used up: more will be received into it.
constexpr uint32_t cqe_buffer_more = 1u << 4;
constexpr uint32_t cqe_buffer_shift = 16;

constexpr uint64_t offset_rings = 0;
constexpr uint64_t offset_sqes = 0x10000000;

}  // namespace marketplace::engine::uring
