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
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "adopt.h"
#include "arena.h"
#include "backend.h"
#include "chain.h"
#include "connection.h"
#include "idle.h"
#include "layout.h"
#include "options.h"
#include "slab.h"
#include "socket.h"
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
  // Steps of TLS handshakes that a turn takes, some of which cost as much as a thousand messages:
  // so those who come at once do not make all others wait.
  uint32_t handshakes_max = 16;
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
  // Encrypted bytes that are received at once.
  static constexpr uint32_t sealed_input_size = 64 * 1024;

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
           !handshakes_.empty() || (!stuck_.empty() && !slabs_.empty()) || backend_->pending();
  }

  // The new id (positive) or negative errno.
  int32_t listen(const Address& address, const ListenOptions& options,
                 const std::shared_ptr<Account>& account = {});
  void close_listener(uint32_t id);
  // Connections wait in the kernel's queue while it is paused.
  void pause_listener(uint32_t id, bool paused);
  // Other limits from now on, for what is accepted from now on; see Admission::change.
  void limit_listener(uint32_t id, const ListenLimits& limits);
  // Peers that its limits of prefixes are not for.
  void exempt(uint32_t id, std::vector<PrefixRange> ranges);
  // What it has counted; nullptr if it is gone. `overloaded`: it is paused by `note_delay`.
  const Admission* admission(uint32_t id, bool& overloaded);
  // Whether a listener is to be paused when the host is late, and how late the host was: for so
  // long it had not looked whether there is something to do.
  bool minds_delay() const { return !guarded_.empty(); }
  void note_delay(int64_t delay_ms);
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
  // From now on what is received and sent is encrypted: of an established connection, which is held
  // until `secure`. What was received before and belongs to the handshake follows by `prepend_tls`.
  // 0 or negative errno.
  int start_tls(uint32_t id, std::shared_ptr<const TlsContext> context, const TlsTarget& target);
  void prepend_tls(uint32_t id, const uint8_t* data, size_t length);
  // The answer to a record `tls_asks`; nullptr: what there is will do. False: it has no
  // certificate.
  bool answer_tls(uint32_t id, SSL_CTX* context);
  // The handshake begins, or goes on after an answer; the next turn does so.
  void secure(uint32_t id);
  // Of a connection that has TLS, to be asked for what it is; otherwise nullptr.
  const Tls* tls(uint32_t id);
  // Options of the kernel's socket. A Unix socket has neither; that is not an error.
  void no_delay(uint32_t id, bool on);
  void keep_alive(uint32_t id, bool on, int idle_s, int interval_s, int count);
  // IP_TOS, or an IPv6 connection's traffic class: from 0 to 255, or negative errno.
  int set_type_of_service(uint32_t id, int value);
  int type_of_service(uint32_t id);
  // What is known of an established connection, for somebody who looks. Of a Unix socket that is
  // why it is held. Or negative errno.
  int info(uint32_t id, ConnectionInfo& out);
  // Of the kernel, for a child process to inherit, or to be duplicated. It stays the connection's,
  // which from then on ends by closing it and no more: what others have is left as it is. Or
  // negative errno.
  int share(uint32_t id);

  // Descriptors that others have opened. Once this returns an id, the engine owns the descriptor,
  // and closes it; after a negative errno it is the caller's still: see check_adoptable, and
  // -EEXIST for one that is the engine's already.
  // As Adoptable::bound, it is made to listen. `owns_file`: the file of a Unix socket goes with it.
  int32_t adopt_listener(int descriptor, const ListenOptions& options, Adoptable as, bool owns_file,
                         const std::shared_ptr<Account>& account = {});
  // A listener that has its connections from an acceptor; see inlet.h. The descriptors stay the
  // caller's.
  int32_t borrow_listener(const InletDescriptors& theirs, bool unix_domain,
                          const ListenOptions& options,
                          const std::shared_ptr<Account>& account = {});
  // Whether there is such a listener; and to give up all of them, as the host can serve nobody any
  // more: what was not taken yet is for other engines.
  bool borrows() const { return !borrowed_.empty(); }
  void release_borrowed();
  // It is paused, until the host says otherwise.
  int32_t adopt_connection(int descriptor, const SocketOptions& options,
                           const std::shared_ptr<Account>& account = {});
  // Whether it is one that this engine was given, or that it has told the number of.
  bool knows(int descriptor) const { return known_.contains(descriptor); }
  // Another process has the listener, too: its file stays.
  void disown_file(uint32_t id);
  // The other way round, by the descriptor of one that was adopted. Whether there is such a one.
  bool own_file(int descriptor);
  // Whether the process at the other end of a Unix socket is of the same user: 1, 0, or negative
  // errno.
  int same_user(uint32_t id);
  // What arrives on this connection over a Unix socket may carry descriptors; to be called before
  // it is connected.
  int carry_descriptors(uint32_t id);
  // Those that have arrived, from the first on: how many. They are the caller's.
  size_t take_descriptors(uint32_t id, int* out, size_t most);
  // Sends bytes now, of which the first carries descriptors: how many bytes, or negative errno.
  // -EAGAIN: what was written before is not sent yet, or the kernel has no room.
  ssize_t send_descriptors(uint32_t id, const uint8_t* data, size_t length, const int* descriptors,
                           size_t count);
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
  // one: so many were too many, and the connection has ended; infinite: it has ended with another
  // error, and output is lost; the lowest that is finite: it has, and all of it had been taken.
  void set_gauges(double* gauges, uint32_t count);
  // Whom to ask for memory that outlives `flush`. Has to outlive the engine.
  void set_lender(Lender& lender) { lender_ = &lender; }

 private:
  struct Piece {
    const uint8_t* data;
    size_t length;
    uint32_t next;
    Source source;
    bool sealed = false;
  };
  // A send that was handed to the backend: of the pieces up to `next`.
  struct Sending {
    Key key;
    uint32_t next;
    size_t total;
  };
  enum class Taken { all, some, lost };
  // Pieces per system call. More gain nothing: the call's own cost is spread enough by then.
  static constexpr int iov_max = 64;
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
  int accept(Socket& listener, Descriptor& out, Address& peer) override;
  void connected(Socket& socket, int result) override;
  Memory memory_for(Socket& socket) override;
  bool received(Socket& socket, const Memory& memory, ssize_t result) override;
  Served readable(Socket& socket) override;
  void discarded(Socket& socket, ssize_t result) override;
  void sendable(Socket& socket) override;
  void hung_up(Socket& socket) override;
  void unwatchable(Socket& socket, int error) override;
  void woken() override;
  ssize_t receive_carried(Socket& socket, const Memory& memory) override;

  void hung_up_unread(Connection& connection);
  void report(const Record& record);
  // How many records the host has read; it takes them from the front.
  uint64_t read() const { return reported_ - records_.size(); }
  void give_up_slab(SlabPool& pool);
  Memory keep(const Memory& memory, uint32_t length);
  Memory place_packed(Packed& packed, uint32_t length);
  Memory place_any(uint32_t length);
  Memory place_for(uint32_t length);
  Memory place_input(const Connection& connection);
  void report_data(Connection& connection, const Memory& place, uint32_t length);
  void deliver(Connection& connection, const Memory& memory, uint32_t length);
  bool input_over(Connection& connection);
  void report_frames(Connection& connection, const Memory& place, uint32_t length, size_t first);
  bool received_frames(Connection& connection, const Memory& memory, uint32_t length);
  bool report_kept(Connection& connection);
  void stop_framing(Connection& connection);
  void spill_again();
  // engine_tls.cc
  class PieceSink;
  bool receive_sealed(Connection& connection, const Memory& memory, uint32_t length);
  bool decrypt(Connection& connection);
  bool shake_hands(Connection& connection);
  void hold_stuck(Connection& connection);
  void get_stuck(Connection& connection, std::vector<Key>& list);
  void free_stuck(Connection& connection);
  void go_on_with_tls();
  void go_on(std::vector<Key>& list, uint32_t most);
  bool tls_ended(Connection& connection);
  void tls_failed(Connection& connection);
  void append_sealed(Connection& connection, const uint8_t* data, size_t length);
  void flush_sealed(Connection& connection, bool batch);
  bool seal(Connection& connection);
  bool seal_pieces(Connection& connection, TlsSink& sink);

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
  void left_parted(Key listener);
  bool loses_output(const Traffic& socket, Call call) const;
  void set_alarm();
  void watch(uint32_t id, int64_t time_ms, void (IdleWheel::*begin)(Connection&, int64_t));
  void expire_idle();
  void expire_due(Connection& connection);
  void set_due(Connection& connection, Due what, uint32_t ticks);
  void time_frame(Connection& connection, bool anew);
  void slow(Connection& connection);
  void release_slowed(int64_t now_ms);
  void count_limit(const std::shared_ptr<Account>& account, Key listener, Limit limit);

  int32_t start_listener(Listener& listener, const ListenOptions& options,
                         const std::shared_ptr<Account>& account);
  void own_adopted(Socket& socket, int descriptor);
  void forget_descriptor(Socket& socket);
  static void own_file_of(Listener& listener);

  void shed_connections(Listener& listener);
  void rest_listener(Listener& listener);
  void update_listener(Listener& listener);
  void guard(Listener& listener);
  void overload(Listener& listener, bool on);
  void review_delay(int64_t now_ms);
  void begin_limited(Connection& connection, const ListenLimits& limits);
  void refuse(Listener& listener, Descriptor descriptor, const Address& peer, Limit limit);
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

  void append_piece(Connection& connection, const Piece& piece);
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
  Counters& counters_of(const std::shared_ptr<Account>& account);
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
  // Descriptors that others may know: those that were adopted, and those whose number was told.
  std::unordered_set<int> known_;
  // What has arrived over connections that carry descriptors, until the host takes it.
  std::unordered_map<Key, std::vector<Descriptor>> carried_;
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
  // Of this turn's output, what TLS has made of it; free again after `flush`.
  Arena sealed_;
  // What is decrypted is received into this, and short pieces are put together here. There is any
  // from the first connection with TLS on.
  std::unique_ptr<uint8_t[]> sealed_input_;
  std::unique_ptr<uint8_t[]> gathered_;
  // Connections whose handshake goes on in the next turn, and those that have input and no slab.
  std::vector<Key> handshakes_;
  std::vector<Key> stuck_;
  uint32_t handshakes_left_ = 0;
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
  // Those that are paused when the host is late; how late it was at most since the last review, and
  // when the next one is, if one of them is paused.
  Chain<Listener, &Listener::guarded> guarded_;
  int64_t delay_ms_ = 0;
  int64_t review_at_ms_ = 0;
  // Connections that are held by their rate, in order of time, as all are for equally long.
  Chain<Traffic, &Traffic::waiting> slowed_;
  // The hash of each listener's prefixes is another one by this.
  PrefixTable::Seed seed_{};
  IdleWheel idle_;
  bool alarm_rang_ = false;
  // There is something that the alarm may be too late for.
  bool alarm_stale_ = false;
  // Listeners for which an acceptor accepts.
  std::vector<uint32_t> borrowed_;
  // What closed ones of them had, as long as connections from there are left.
  std::unordered_map<Key, std::unique_ptr<Inlet>> parted_;
  SpareDescriptor spare_;
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
