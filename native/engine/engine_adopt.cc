// Sockets that others have opened, and become the engine's; and the descriptors that a connection
// over a Unix socket carries.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "adopt.h"
#include "engine.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

// Kept for one connection until the host takes them.
constexpr size_t carried_max = 4096;

}  // namespace

int32_t Engine::adopt_listener(int descriptor, const ListenOptions& options, Adoptable as,
                               bool owns_file, const std::shared_ptr<Account>& account) {
  bool unix_domain = false;
  if (known_.contains(descriptor)) return -EEXIST;
  int result = check_adoptable(descriptor, as, unix_domain);
  if (result == 0) result = prepare_adopted(descriptor);
  if (result == 0) result = apply_options(descriptor, unix_domain, options.socket);
  if (result == 0 && as == Adoptable::bound) result = begin_to_listen(descriptor, options.backlog);
  if (result < 0) return result;
  Listener* listener = sockets_.insert<Listener>();
  if (listener == nullptr) return -ENOMEM;
  listener->unix_domain = unix_domain;
  own_adopted(*listener, descriptor);
  if (owns_file) own_file_of(*listener);
  return start_listener(*listener, options, account);
}

int32_t Engine::borrow_listener(const InletDescriptors& theirs, bool unix_domain,
                                const ListenOptions& options,
                                const std::shared_ptr<Account>& account) {
  auto inlet = std::make_unique<Inlet>();
  Descriptor watched;
  const int result = inlet->open(theirs, watched);
  if (result < 0) return result;
  Listener* listener = sockets_.insert<Listener>();
  if (listener == nullptr) return -ENOMEM;
  listener->unix_domain = unix_domain;
  listener->descriptor = std::move(watched);
  listener->adopted = true;
  listener->inlet = std::move(inlet);
  borrowed_.push_back(listener->id);
  return start_listener(*listener, options, account);
}

void Engine::release_borrowed() {
  for (const uint32_t id : borrowed_) {
    if (Listener* listener = sockets_.find<Listener>(id)) listener->inlet->release();
  }
  borrowed_.clear();
}

int32_t Engine::adopt_connection(int descriptor, const SocketOptions& options,
                                 const std::shared_ptr<Account>& account) {
  bool unix_domain = false;
  if (known_.contains(descriptor)) return -EEXIST;
  int result = check_adoptable(descriptor, Adoptable::connection, unix_domain);
  if (result == 0) result = prepare_adopted(descriptor);
  if (result == 0) result = apply_options(descriptor, unix_domain, options);
  if (result < 0) return result;
  Connection* connection = sockets_.insert<Connection>();
  if (connection == nullptr) return -ENOMEM;
  connection->account = account_or_own(account);
  connection->unix_domain = unix_domain;
  own_adopted(*connection, descriptor);
  const uint32_t id = connection->id;
  gauge(*connection);
  change(*connection, Change::paused);
  update_interest(*connection);
  // It may end here, if the kernel can't watch it: `closed` follows.
  backend_->settle(*this);
  return static_cast<int32_t>(id);
}

void Engine::own_adopted(Socket& socket, int descriptor) {
  socket.descriptor.reset(descriptor);
  socket.adopted = true;
  known_.insert(descriptor);
}

// Its number may be another socket's soon.
void Engine::forget_descriptor(Socket& socket) {
  if (socket.shared || socket.adopted) known_.erase(socket.descriptor.get());
  if (socket.carries_descriptors) carried_.erase(socket.key);
}

void Engine::disown_file(uint32_t id) {
  Listener* listener = sockets_.find<Listener>(id);
  if (listener != nullptr) listener->file.disown();
}

bool Engine::own_file(int descriptor) {
  Listener* found = nullptr;
  if (!known_.contains(descriptor)) return false;
  sockets_.each<Listener>([&](Listener& listener) {
    if (listener.descriptor.get() == descriptor) found = &listener;
  });
  if (found != nullptr) own_file_of(*found);
  return found != nullptr;
}

void Engine::own_file_of(Listener& listener) {
  Address address;
  if (!listener.unix_domain || local_address(listener.descriptor.get(), address) < 0) return;
  if (address.file() != nullptr) listener.file.own(address.file());
}

int Engine::same_user(uint32_t id) {
  Connection* connection = sockets_.find<Connection>(id);
  return connection == nullptr ? -ENOTCONN : engine::same_user(connection->descriptor.get());
}

int Engine::carry_descriptors(uint32_t id) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return -ENOTCONN;
  if (!connection->unix_domain) return -EOPNOTSUPP;
  // Later, a request of the ring's could be on its way that receives bytes and drops descriptors.
  if (connection->halves.established()) return -EISCONN;
  connection->carries_descriptors = true;
  return 0;
}

ssize_t Engine::send_descriptors(uint32_t id, const uint8_t* data, size_t length,
                                 const int* descriptors, size_t count) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr) return -ENOTCONN;
  // They belong to a byte, which may not overtake others.
  if (connection->piece_first != Connection::no_piece || !connection->output.empty()) {
    return -EAGAIN;
  }
  return engine::send_descriptors(connection->descriptor.get(), data, length, descriptors, count);
}

size_t Engine::take_descriptors(uint32_t id, int* out, size_t most) {
  Connection* connection = sockets_.find<Connection>(id);
  if (connection == nullptr || !connection->carries_descriptors) return 0;
  std::vector<Descriptor>& carried = carried_[connection->key];
  const size_t count = std::min(most, carried.size());
  for (size_t i = 0; i < count; i++) out[i] = carried[i].release();
  carried.erase(carried.begin(), carried.begin() + static_cast<ptrdiff_t>(count));
  return count;
}

ssize_t Engine::receive_carried(Socket& socket, const Memory& memory) {
  std::vector<Descriptor>& carried = carried_[socket.key];
  const ssize_t result =
      receive_descriptors(socket.descriptor.get(), memory.base, memory.size, carried);
  return carried.size() > carried_max ? -EMFILE : result;
}

}  // namespace marketplace::engine
