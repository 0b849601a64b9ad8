// OpenSSL with memory on both sides; see tls.h.
#include "tls.h"

#include <dlfcn.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace marketplace::engine {

namespace {

// Numbers of OpenSSL's interface.
constexpr int error_want_read = 2;
constexpr int error_want_certificate = 4;
constexpr int error_zero_return = 6;
constexpr int control_mode = 33;
constexpr int control_host_name = 55;
constexpr int control_verify_store = 106;
constexpr int control_chain = 115;
constexpr int control_current_certificate = 117;
constexpr long mode_moving_buffer = 0x2;
constexpr long mode_release_buffers = 0x10;
constexpr uint64_t option_no_renegotiation = uint64_t{1} << 30;
constexpr int verify_none = 0;
constexpr int verify_peer = 1;
constexpr int verify_demand = 2;
// A certificate whose issuer is not among those that are trusted.
constexpr int no_local_issuer = 20;
// OpenSSL's number of a reason is that of its library and its own.
constexpr uint32_t certificate_verify_failed = (20u << 23) | 134u;
constexpr int alpn_agreed = 1;
constexpr int alpn_ok = 0;
constexpr int alert_fatal = 2;
constexpr long certificate_first = 1;
constexpr long certificate_next = 2;
constexpr int retry_read = 0x01 | 0x08;
constexpr int retry_any = 0x07 | 0x08;
constexpr int own_data = 0;
// What is in one record at most: so finely is told what the kernel took.
constexpr size_t record_max = 16 * 1024;
// A list that has become empty is kept up to here.
constexpr size_t marks_kept = 64;
constexpr size_t bytes_kept = 4096;

int accept_any(int, void*) {
  return 1;
}

}  // namespace

TlsContext::TlsContext(std::shared_ptr<const OpenSsl> of, SSL_CTX* shared, bool is_server)
    : openssl(std::move(of)), context(shared), server(is_server) {
  openssl->SSL_CTX_up_ref(context);
}

TlsContext::~TlsContext() {
  openssl->SSL_CTX_free(context);
}

std::unique_ptr<Tls> Tls::open(std::shared_ptr<const TlsContext> context, const TlsTarget& target) {
  std::unique_ptr<Tls> tls(new Tls(std::move(context)));
  tls->openssl().ERR_clear_error();
  const bool started = tls->start(target);
  tls->openssl().ERR_clear_error();
  return started ? std::move(tls) : nullptr;
}

bool Tls::start(const TlsTarget& target) {
  const OpenSsl& o = openssl();
  const TlsContext& context = *context_;
  ssl_ = o.SSL_new(context.context);
  BIO* bio = ssl_ == nullptr ? nullptr : o.BIO_new(o.memory());
  if (bio == nullptr) return false;
  o.BIO_set_data(bio, this);
  o.BIO_set_init(bio, 1);
  // It is both; OpenSSL takes the one reference for that.
  o.SSL_set_bio(ssl_, bio, bio);
  if (o.SSL_set_ex_data(ssl_, own_data, this) != 1) return false;
  o.SSL_ctrl(ssl_, control_mode, mode_moving_buffer | mode_release_buffers, nullptr);
  o.SSL_set_options(ssl_, option_no_renegotiation);
  const VerifyCallback judges = context.reject_unauthorized ? judge : accept_any;
  const std::vector<uint8_t>& protocols = context.protocols;
  if (context.server) {
    const int demand = context.reject_unauthorized ? verify_peer | verify_demand : verify_peer;
    o.SSL_set_verify(ssl_, context.request_certificate ? demand : verify_none, judges);
    if (context.asks) o.SSL_set_cert_cb(ssl_, choose_certificate, this);
    if (!protocols.empty()) {
      // As long as the connection has the context, this is there, too.
      void* own = const_cast<TlsContext*>(&context);
      o.SSL_CTX_set_alpn_select_cb(context.context, choose_protocol, own);
    }
    o.SSL_set_accept_state(ssl_);
    return true;
  }
  o.SSL_CTX_sess_set_new_cb(context.context, new_session);
  o.SSL_set_verify(ssl_, verify_peer, judges);
  if (!target.server_name.empty()) {
    void* name = const_cast<char*>(target.server_name.c_str());
    if (o.SSL_ctrl(ssl_, control_host_name, 0, name) != 1) return false;
  }
  // Zero is success here.
  const unsigned size = static_cast<unsigned>(protocols.size());
  if (size > 0 && o.SSL_set_alpn_protos(ssl_, protocols.data(), size) != 0) return false;
  if (!target.session.empty()) {
    const uint8_t* bytes = target.session.data();
    SSL_SESSION* session =
        o.d2i_SSL_SESSION(nullptr, &bytes, static_cast<long>(target.session.size()));
    // One that is of no use is no reason to fail: the handshake is a full one.
    if (session != nullptr) {
      o.SSL_set_session(ssl_, session);
      o.SSL_SESSION_free(session);
    }
  }
  o.SSL_set_connect_state(ssl_);
  return true;
}

Tls::~Tls() {
  // Its BIO goes with it.
  if (ssl_ != nullptr) openssl().SSL_free(ssl_);
}

void Tls::supply(const uint8_t* data, size_t length) {
  assert(input_ == input_end_);
  input_ = data;
  input_end_ = data + length;
}

void Tls::keep_rest() {
  if (input_ < input_end_) kept_.insert(kept_.end(), input_, input_end_);
  input_ = nullptr;
  input_end_ = nullptr;
}

// OpenSSL's callbacks are told of nothing but its own objects: how to get from those to ours is the
// same for all of the process.
const Tls::Callbacks& Tls::callbacks() {
  static const Callbacks found = [] {
    Callbacks calls;
    const auto find = [](const char* name, auto*& function) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
          ::dlsym(RTLD_DEFAULT, name));
    };
    find("BIO_get_data", calls.data_of_bio);
    find("BIO_set_flags", calls.set_flags);
    find("BIO_clear_flags", calls.clear_flags);
    find("SSL_get_ex_data", calls.data_of_ssl);
    find("X509_STORE_CTX_get_error", calls.error_of);
    find("X509_STORE_CTX_get_error_depth", calls.depth_of);
    return calls;
  }();
  return found;
}

// A certificate that comes alone and whose issuer isn't known is let pass here, so that OpenSSL
// goes on to the error that Node, which hears of the last one, has for it. `handshake` passes none
// that had any.
int Tls::judge(int right, void* verification) {
  if (right == 1) return 1;
  const Callbacks& calls = callbacks();
  if (calls.error_of == nullptr || calls.depth_of == nullptr) return 0;
  return calls.error_of(verification) == no_local_issuer && calls.depth_of(verification) == 0 ? 1
                                                                                              : 0;
}

int Tls::read_bio(BIO* bio, char* to, int size) {
  const Callbacks& calls = callbacks();
  Tls& tls = *static_cast<Tls*>(calls.data_of_bio(bio));
  calls.clear_flags(bio, retry_any);
  const size_t most = static_cast<size_t>(size);
  size_t length = tls.kept_.size() - tls.kept_read_;
  if (length > 0) {
    length = std::min(length, most);
    std::memcpy(to, tls.kept_.data() + tls.kept_read_, length);
    tls.kept_read_ += length;
    if (tls.kept_read_ == tls.kept_.size()) tls.forget_kept();
    return static_cast<int>(length);
  }
  length = std::min(static_cast<size_t>(tls.input_end_ - tls.input_), most);
  if (length == 0) {
    calls.set_flags(bio, retry_read);
    return -1;
  }
  std::memcpy(to, tls.input_, length);
  tls.input_ += length;
  return static_cast<int>(length);
}

int Tls::write_bio(BIO* bio, const char* data, int length) {
  const Callbacks& calls = callbacks();
  Tls& tls = *static_cast<Tls*>(calls.data_of_bio(bio));
  calls.clear_flags(bio, retry_any);
  if (length <= 0) return 0;
  if (tls.mute_) return length;
  assert(tls.sink_ != nullptr);
  tls.sink_->sealed(reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(length));
  tls.sealed_ += static_cast<size_t>(length);
  return length;
}

void Tls::forget_kept() {
  if (kept_.capacity() > bytes_kept) {
    std::vector<uint8_t>().swap(kept_);
  } else {
    kept_.clear();
  }
  kept_read_ = 0;
}

// Before each call of OpenSSL's that reads or writes: errors that others have left are none of
// ours.
void Tls::enter(TlsSink& sink) {
  sink_ = &sink;
  openssl().ERR_clear_error();
}

// What a call of OpenSSL's came to that did not do what was asked.
Tls::Step Tls::outcome(int result) {
  const OpenSsl& o = openssl();
  const int error = o.SSL_get_error(ssl_, result);
  if (error == error_want_read) return Step::wants_input;
  if (error == error_zero_return) return Step::ended;
  if (error == error_want_certificate) {
    asking_ = true;
    return Step::asks;
  }
  reason_ = static_cast<uint32_t>(o.ERR_peek_error());
  failed_ = true;
  o.ERR_clear_error();
  return Step::failed;
}

Tls::Step Tls::handshake(TlsSink& sink) {
  assert(!secured_ && !failed_);
  enter(sink);
  const int result = openssl().SSL_do_handshake(ssl_);
  if (result != 1) return outcome(result);
  if (context_->reject_unauthorized && verify() != 0) {
    // Also of a session that began where it didn't matter.
    reason_ = certificate_verify_failed;
    failed_ = true;
    return Step::failed;
  }
  secured_ = true;
  return Step::done;
}

Tls::Step Tls::read(TlsSink& sink, uint8_t* to, size_t size, size_t& length) {
  assert(secured_ && !failed_);
  length = 0;
  enter(sink);
  while (length < size) {
    const int room = static_cast<int>(std::min<size_t>(size - length, INT32_MAX));
    const int result = openssl().SSL_read(ssl_, to + length, room);
    if (result <= 0) return outcome(result);
    length += static_cast<size_t>(result);
  }
  return Step::bytes;
}

bool Tls::write(TlsSink& sink, const uint8_t* data, size_t length) {
  assert(secured_);
  if (failed_) return false;
  enter(sink);
  while (length > 0) {
    const int part = static_cast<int>(std::min(length, record_max));
    const int result = openssl().SSL_write(ssl_, data, part);
    if (result != part) {
      // With memory to write to, it writes all or has failed.
      if (outcome(result) != Step::failed) failed_ = true;
      return false;
    }
    data += part;
    length -= static_cast<size_t>(part);
    written_ += static_cast<size_t>(part);
    marks_.push_back(Mark{sealed_, written_});
  }
  return true;
}

void Tls::shut(TlsSink& sink) {
  if (!mute_ && !failed_ && secured_) {
    enter(sink);
    // Whatever it says: the peer will see the end of the connection.
    static_cast<void>(openssl().SSL_shutdown(ssl_));
    openssl().ERR_clear_error();
  }
  mute();
}

void Tls::follow(size_t length) {
  if (length == 0) return;
  sealed_ += length;
  written_ += length;
  marks_.push_back(Mark{sealed_, written_});
}

size_t Tls::taken(size_t length) {
  taken_ += length;
  const uint64_t before = written_taken_;
  while (mark_next_ < marks_.size() && marks_[mark_next_].sealed <= taken_) {
    written_taken_ = marks_[mark_next_++].written;
  }
  if (mark_next_ == marks_.size()) {
    marks_.clear();
    if (marks_.capacity() > marks_kept) std::vector<Mark>().swap(marks_);
    mark_next_ = 0;
  }
  return static_cast<size_t>(written_taken_ - before);
}

int Tls::choose_certificate(SSL*, void* tls) {
  return static_cast<const Tls*>(tls)->answered_ ? 1 : -1;
}

int Tls::choose_protocol(SSL*, const uint8_t** chosen, uint8_t* length, const uint8_t* offered,
                         unsigned size, void* from) {
  const TlsContext& context = *static_cast<const TlsContext*>(from);
  const std::vector<uint8_t>& own = context.protocols;
  uint8_t* found = nullptr;
  const int result = context.openssl->SSL_select_next_proto(
      &found, length, own.data(), static_cast<unsigned>(own.size()), offered, size);
  *chosen = found;
  return result == alpn_agreed ? alpn_ok : alert_fatal;
}

int Tls::new_session(SSL* ssl, SSL_SESSION*) {
  Tls* tls = static_cast<Tls*>(callbacks().data_of_ssl(ssl, own_data));
  if (tls != nullptr) tls->has_session_ = true;
  // Nothing of it was kept.
  return 0;
}

bool Tls::take_session() {
  return std::exchange(has_session_, false);
}

// The context itself is not used: others, who have set callbacks in it, may share it.
bool Tls::use(SSL_CTX* context) {
  const OpenSsl& o = openssl();
  o.ERR_clear_error();
  o.SSL_certs_clear(ssl_);
  int used = 0;
  bool right = true;
  for (long which = certificate_first;
       right && o.SSL_CTX_ctrl(context, control_current_certificate, which, nullptr) == 1;
       which = certificate_next) {
    X509* certificate = o.SSL_CTX_get0_certificate(context);
    EVP_PKEY* key = o.SSL_CTX_get0_privatekey(context);
    if (certificate == nullptr || key == nullptr) continue;
    OPENSSL_STACK* chain = nullptr;
    o.SSL_CTX_ctrl(context, control_chain, 0, &chain);
    right = o.SSL_use_cert_and_key(ssl_, certificate, key, chain, 1) == 1;
    used++;
  }
  // 1: with a reference of its own.
  o.SSL_ctrl(ssl_, control_verify_store, 1, o.SSL_CTX_get_cert_store(context));
  OPENSSL_STACK* authorities = o.SSL_CTX_get_client_CA_list(context);
  if (authorities != nullptr) o.SSL_set_client_CA_list(ssl_, o.SSL_dup_CA_list(authorities));
  o.ERR_clear_error();
  answered_ = true;
  asking_ = false;
  return right && used > 0;
}

void Tls::proceed() {
  answered_ = true;
  asking_ = false;
}

int32_t Tls::verify() const {
  return static_cast<int32_t>(openssl().SSL_get_verify_result(ssl_));
}

bool Tls::reused() const {
  return openssl().SSL_session_reused(ssl_) == 1;
}

}  // namespace marketplace::engine
