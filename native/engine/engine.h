// The engine's face: non-blocking sockets for one thread (TCP, Unix, UDP), with nothing of
// JavaScript in it.
//
// How it is used: the host polls `descriptor()`; when that is readable it calls `turn()`, reads
// `records`, clears them, gives its commands, and calls `flush()`, always: only then does what was
// decided in between reach the kernel. Nothing happens behind the host's back. Instead of polling,
// the host may sleep in `sleep`, which hears of the host's own descriptor as well.
//
// Invariants: functions that can fail return negative errno; ids that are no longer valid are
// ignored (the host cannot know yet), and none is given to somebody else before the host has read
// the last record that has it; `closed` is the last record of a connection or a socket for
// datagrams, exactly once; every datagram given to `send` is handed to the kernel, in order, or
// reported; no record comes for a socket that the host has not been told of or has not made. A
// connection that ends with an error is reset: its peer cannot take what it got for all there was.
// So is one that has output left when the engine ends.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend.h"
#include "chain.h"
#include "connection.h"
#include "idle.h"
#include "layout.h"
#include "options.h"
#include "slab.h"
#include "table.h"
#include "udp_socket.h"

namespace marketplace::engine {

// glibc's flags are an int, musl's unsigned.
using SendDatagrams = decltype(&::sendmmsg);

// The limits are those of the account that sockets have which are given none.
struct Options : Limits {
  // How long a listener rests after accept failed for lack of descriptors or memory.
  int64_t accept_pause_ms = 100;
  // A turn stops reading when there are so many records.
  uint32_t records_max = 4096;
  // The ends of frames that a turn reports, where several are in one record; what is beyond comes
  // as bytes.
  uint32_t marks_max = 32 * 1024;
  // The begin of a frame is kept until the rest comes, up to so many bytes; a longer one is
  // reported piece by piece. At most an eighth of the smallest slab for pieces of any length.
  uint32_t frame_keep_max = 16 * 1024;
  // Slabs are filled again after `reuse_slabs`, instead of being retired when they are full.
  bool reuses_slabs = false;
  // Tests put theirs here, as a loopback never says that it is full.
  SendDatagrams send_datagrams = ::sendmmsg;
  // What is filled again is overwritten before that: always, in debug builds.
#ifdef NDEBUG
  bool poisons_slabs = false;
#else
  bool poisons_slabs = true;
#endif
};

class Engine final : private BackendSink {
 public:
  // Pieces up to this size are packed apart from others: whoever keeps one keeps no more than a
  // small slab. Below it a copy costs less than a hundredth of the system call that it follows.
  static constexpr uint32_t small_receive_max = 2048;
  // The same of datagrams, which have slabs that are smaller still: many programs keep one of each
  // of many senders. Longer ones would fill such slabs faster than they are worth.
  static constexpr uint32_t tiny_receive_max = 64;

  Engine(std::unique_ptr<Backend> backend, const Options& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  int open();
  int descriptor() const { return backend_->descriptor(); }
  // To be called before a `turn` that the descriptor asked for.
  void acknowledge() { backend_->acknowledge(); }
  // After `flush`: there is work for a turn, whether or not the descriptor is readable.
  bool pending() const {
    const bool owed = arrived_next_ < arrived_ || !spilling_.empty();
    return !records_.empty() || (owed && !slabs_.empty()) || !touched_.empty() ||
           backend_->pending();
  }

  // The new id (positive) or negative errno.
  int32_t listen(const Address& address, const ListenOptions& options,
                 const std::shared_ptr<Account>& account = {});
  void close_listener(uint32_t id);
  // Connections wait in the kernel's queue while it is paused.
  void pause_listener(uint32_t id, bool paused);
  // `bind_failed` says that an error is one of the local address.
  int32_t connect(const Address& address, const ConnectOptions& options, bool& bind_failed,
                  const std::shared_ptr<Account>& account = {});
  // A socket for datagrams, bound to the address.
  int32_t bind(const Address& address, const UdpSocketOptions& options,
               const std::shared_ptr<Account>& account = {});
  int membership(uint32_t id, const Address& group, const char* interface, bool join);
  int multicast_interface(uint32_t id, const char* interface);
  // Of a socket of any kind.
  int local(uint32_t id, Address& out);
  int options(uint32_t id, SocketOptions& out);
  int remote(uint32_t id, Address& out);

  // The bytes have to stay as they are until `flush` returns, or, if the lender lends them then,
  // until they are given back.
  void write(uint32_t id, const uint8_t* data, size_t length, Source source = no_source);
  // One datagram; the bytes have to stay until `flush` returns. An IPv6 socket that takes IPv4
  // takes IPv4 addresses here, too.
  void send(uint32_t id, const uint8_t* data, size_t length, const Address& to);
  void shutdown(uint32_t id);
  // Sends what was given before, for as long as that takes, up to the time limit; then a connection
  // ends with ETIMEDOUT, and each datagram that is left with ECANCELED.
  void close(uint32_t id);
  void abort(uint32_t id);
  // An abort for a reason: what was to be written cannot be had.
  void fail_write(uint32_t id, int error);
  void pause(uint32_t id, bool paused);
  void report_writes(uint32_t id, bool on);
  // Ends the connection when no byte was received or sent for so long; 0: never. In order if the
  // kernel has all output, else by a reset; in any case with ETIMEDOUT. Up to 100 ms late.
  void idle_timeout(uint32_t id, int64_t time_ms);
  // The same when no byte was received for so long while input was waited for: see `expect_input`.
  // What the kernel has counts, also on a connection that is paused.
  void input_timeout(uint32_t id, int64_t time_ms);
  // Whether the host waits for input, as it does in the beginning. The time begins anew.
  void expect_input(uint32_t id, bool on);
  // Frames are to be found in what comes from `order.position` on; if other bytes than those before
  // it have been reported already, or for `FrameKind::bytes`, all that comes is reported as bytes.
  void frame(uint32_t id, const FrameOrder& order);
  // Options of the kernel's socket. A Unix socket has neither; that is not an error.
  void no_delay(uint32_t id, bool on);
  void keep_alive(uint32_t id, bool on, int idle_s, int interval_s, int count);
  // IP_TOS, or an IPv6 connection's traffic class: from 0 to 255, or negative errno.
  int set_type_of_service(uint32_t id, int value);
  int type_of_service(uint32_t id);
  // Of the kernel, for a child process to inherit, or to be duplicated. It stays the connection's,
  // which from then on ends by closing it and no more: what others have is left as it is. Or
  // negative errno.
  int share(uint32_t id);
  // Hands all output to the kernel, one gathered write per connection; queues the rest.
  void flush();

  // Sleeping in the engine: see Backend.
  int watch_host(int descriptor) { return backend_->watch_host(descriptor); }
  int sleep(int timeout_ms) { return backend_->sleep(timeout_ms); }
  bool host_ready() { return backend_->host_ready(); }

  // Between the two the host calls `turn` and `flush` again and again, and doesn't look at the
  // descriptor, which then may say nothing; afterwards `pending` is up to date.
  void busy_poll(bool on) { backend_->busy_poll(*this, on); }

  // Reports what has happened, within a turn's limits. Never waits. 0 or negative errno.
  int turn();

  // Lends memory for received data: for pieces of up to `small_receive_max` bytes, for datagrams of
  // up to `tiny_receive_max`, or for any; those have to have room for the longest datagram.
  void add_slab(uint32_t slab, uint8_t* base, uint32_t size, Purpose purpose = Purpose::input);
  // Before a turn: gives up the slabs whose memory the host has lost, as `lost` says by id. Only
  // those are asked about of which bytes were reported. They are reported as retired.
  template <typename Lost>
  void retire_lost_slabs(Lost lost);
  // Nobody looks any more at what was reported: see Options::reuses_slabs. After
  // `retire_lost_slabs`, as it may write.
  void reuse_slabs();
  // Somebody still looks at what was reported, and others can't wait for that: slabs that are full
  // are retired, and never filled again.
  void replace_slabs();
  bool reuses_slabs() const { return options_.reuses_slabs; }
  std::vector<Record>& records() { return records_; }
  // Where frames end; see native/layout.mjs. Those of a turn, whose records the host takes with
  // them.
  std::vector<int32_t>& marks() { return marks_; }
  // Of the sockets that were given no account.
  const Counters& counters() const { return account_->counters; }
  // Bytes that wait to be sent at present, of all accounts.
  size_t queued_bytes() const { return queued_bytes_; }
  // After `flush`: calls it with each account whose counters have changed since the last time.
  template <typename See>
  void take_changed(See see);
  // For tests: it looks at all of them.
  template <typename Item = Connection>
  uint32_t count();
  // Where to keep the number of queued bytes of each connection, by index of its id. Negative, less
  // one: so many were too many, and the connection has ended.
  void set_gauges(double* gauges, uint32_t count);
  // Whom to ask for memory that outlives `flush`. Has to outlive the engine.
  void set_lender(Lender& lender) { lender_ = &lender; }

 private:
  struct Piece {
    const uint8_t* data;
    size_t length;
    uint32_t next;
    Source source;
  };
  // A send that was handed to the backend: of the pieces up to `next`.
  struct Sending {
    Key key;
    uint32_t next;
    size_t total;
  };
  enum class Taken { all, some, lost };
  // Slabs for pieces of up to some length.
  struct Packed {
    Purpose purpose;
    uint32_t length_max;
    SlabPool slabs{};
    // There were too few in this turn, which was reported.
    bool lacking = false;
  };

  // BackendSink
  Socket* find(Key key) override;
  bool ready_for_more() const override;
  bool accepted(Socket& listener, Descriptor descriptor, const Address& peer) override;
  bool accept_failed(Socket& listener, int error) override;
  void connected(Socket& socket, int result) override;
  Memory memory_for(Socket& socket) override;
  bool received(Socket& socket, const Memory& memory, ssize_t result) override;
  Served readable(Socket& socket) override;
  void discarded(Socket& socket, ssize_t result) override;
  void sendable(Socket& socket) override;
  void hung_up(Socket& socket) override;
  void unwatchable(Socket& socket, int error) override;
  void woken() override;

  void hung_up_unread(Connection& connection);
  void report(const Record& record);
  // How many records the host has read; it takes them from the front.
  uint64_t read() const { return reported_ - records_.size(); }
  void give_up_slab(SlabPool& pool);
  Memory keep(const Memory& memory, uint32_t length);
  Memory place_packed(Packed& packed, uint32_t length);
  Memory place_any(uint32_t length);
  Memory place_for(uint32_t length);
  void report_data(Connection& connection, const Memory& place, uint32_t length);
  void report_frames(Connection& connection, const Memory& place, uint32_t length, size_t first);
  void received_frames(Connection& connection, const Memory& memory, uint32_t length);
  bool report_kept(Connection& connection);
  void stop_framing(Connection& connection);
  void spill_again();
  void lacks_slabs(Traffic& socket);
  void lack_slabs();
  void starve(Traffic& socket);
  void feed_starved();
  void change(Traffic& socket, Change what);
  void update_interest(Traffic& socket);
  void limit_close(Traffic& socket);
  void close_late(Traffic& socket);
  void finish(Connection& connection, int error, Call call);
  void end(Traffic& socket, int error, Call call);
  void set_alarm();
  void watch(uint32_t id, int64_t time_ms, void (IdleWheel::*begin)(Connection&, int64_t));
  void expire_idle();

  void shed_connections(Listener& listener);
  bool shed_connection(Listener& listener);
  void rest_listener(Listener& listener);
  void update_listener(Listener& listener);
  void drop(Listener& listener, Descriptor descriptor, const Address& peer);
  void report_drops();

  bool place_arrived();
  bool place_datagram(const UdpSocket& socket, uint32_t index);
  void flush_datagrams(UdpSocket& socket);
  void output_changed(UdpSocket& socket);
  size_t send_queued(UdpSocket& socket);
  template <typename List>
  size_t transmit(const UdpSocket& socket, const List& list, size_t count);
  void enqueue(UdpSocket& socket, Datagram& datagram);
  void fail_queued(UdpSocket& socket, int error);

  void touch(Traffic& socket);
  void flush_connection(Connection& connection);
  int gather(uint32_t piece, iovec* vector, uint32_t& next, size_t& total) const;
  bool queue_sending(Connection& connection);
  void finish_sendings();
  bool send_pieces(Connection& connection, uint32_t piece);
  Taken pieces_taken(Connection& connection, uint32_t piece, size_t total, ssize_t result);
  void pieces_done(Connection& connection);
  bool send_queue(Connection& connection);
  bool queue_pieces(Connection& connection, uint32_t piece, size_t skip);
  bool queue_bytes(Connection& connection, const uint8_t* data, size_t length, Source source);
  const std::shared_ptr<Account>& account_or_own(const std::shared_ptr<Account>& account) const;
  Counters& counters_of(const Traffic& socket);
  void check_total(Account& account);
  void end_longest_queues(Account& account);
  void sent(Connection& connection, size_t length);
  bool send_failed(Connection& connection, int error);
  void output_changed(Connection& connection);
  bool end_output(Connection& connection);
  void set_queued(Traffic& socket, size_t bytes);
  void gauge(Connection& connection);
  void set_gauge(uint32_t id, double value);

  std::unique_ptr<Backend> backend_;
  Options options_;
  Table<Socket, key_generation_max, Connection, Listener, UdpSocket> sockets_;
  SlabPool slabs_;
  Packed small_{Purpose::small_input, small_receive_max};
  Packed tiny_{Purpose::tiny_input, tiny_receive_max};
  bool slabs_short_ = false;
  // The turn began without a slab: the host had its chance to add one. Sockets that have input
  // are not watched until it does.
  bool starving_ = false;
  Chain<Traffic, &Traffic::waiting> starved_;
  std::vector<Record> records_;
  // How many there ever were.
  uint64_t reported_ = 0;
  std::vector<int32_t> marks_;
  uint32_t frame_keep_max_;
  // Connections that have something to report as bytes, and for which there was no slab.
  std::vector<Key> spilling_;

  std::shared_ptr<Account> account_;
  // Those whose counters have changed since the host was told.
  std::vector<std::shared_ptr<Account>> changed_;
  size_t queued_bytes_ = 0;

  // Datagrams that were received together, for one socket, and how many of them are in slabs. There
  // is a batch from the first socket on.
  std::unique_ptr<DatagramBatch> batch_;
  Key arrived_for_ = 0;
  uint32_t arrived_ = 0;
  uint32_t arrived_next_ = 0;
  // The sender that was reported last in this turn.
  Address sender_{};

  std::vector<Piece> pieces_;
  // What `flush` has to look at.
  Chain<Traffic, &Traffic::touched> touched_;
  std::vector<Sending> sendings_;
  Lender* lender_ = nullptr;
  double* gauges_ = nullptr;
  uint32_t gauge_count_ = 0;

  // Accounts of sockets whose close has a time limit.
  Chain<Account, &Account::closes> closing_;
  // In order of time, as all have the same delay.
  Chain<Listener, &Listener::rest> resting_;
  // Listeners that have drops to report.
  Chain<Listener, &Listener::dropping> dropping_;
  IdleWheel idle_;
  bool alarm_rang_ = false;
  // Kept open so that one descriptor can be had when there are no others.
  Descriptor spare_;
};

template <typename Item>
uint32_t Engine::count() {
  uint32_t count = 0;
  sockets_.each<Item>([&count](const Item&) { count++; });
  return count;
}

template <typename See>
void Engine::take_changed(See see) {
  for (const std::shared_ptr<Account>& account : changed_) {
    account->changed = false;
    see(*account);
  }
  changed_.clear();
}

template <typename Lost>
void Engine::retire_lost_slabs(Lost lost) {
  for (SlabPool* pool : {&slabs_, &small_.slabs, &tiny_.slabs}) {
    uint32_t id = 0;
    while (pool->retire_lost(lost, id)) report(Record::slab_retired(id));
  }
}

}  // namespace marketplace::engine
