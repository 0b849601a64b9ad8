// One connection's TLS, between the bytes of the socket and those of the program: OpenSSL with
// memory on both sides, which never sees the socket.
//
// Owns OpenSSL's state of the connection, what came and was not decrypted yet, and the account of
// which of the program's bytes are in which of the socket's. What is to be sent goes to a sink, at
// once. What it is told of comes from an engine (engine_tls.cc), which decides when.
//
// Invariants: OpenSSL's queue of errors, which the thread's other users share, is empty before each
// call and after it; after a failure nothing is read or written any more; nothing that a peer does
// makes it keep more than one receive and what OpenSSL keeps of a message of the handshake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "openssl.h"

namespace marketplace::engine {

// Where what is to be sent goes. The bytes are copied.
class TlsSink {
 public:
  virtual void sealed(const uint8_t* data, size_t length) = 0;

 protected:
  ~TlsSink() = default;
};

// What connections have in common: OpenSSL's context, which keeps certificates, and how it is used.
struct TlsContext {
  TlsContext(std::shared_ptr<const OpenSsl> of, SSL_CTX* shared, bool is_server);
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ~TlsContext();

  const std::shared_ptr<const OpenSsl> openssl;
  SSL_CTX* const context;
  const bool server;
  // The peer has to have a certificate, and it has to be valid, or the handshake fails. A client
  // always asks for one.
  bool request_certificate = false;
  bool reject_unauthorized = true;
  // A server asks the host for the certificate of each handshake.
  bool asks = false;
  // The protocols that are spoken, in the order of preference, each after a byte with its length.
  std::vector<uint8_t> protocols;
};

// Of one connection, on a client.
struct TlsTarget {
  std::string server_name;
  // A session to be resumed, as `session` gave it.
  std::vector<uint8_t> session;
};

class Tls {
 public:
  enum class Step : uint8_t {
    wants_input,
    asks,    // the host is to choose a certificate, by `use`
    done,    // of a handshake
    bytes,   // of reading: there are some
    ended,   // the peer sends nothing more, and says so
    failed,  // see `reason`
  };

  // nullptr when OpenSSL says no: memory is short, or the context has no certificate.
  static std::unique_ptr<Tls> open(std::shared_ptr<const TlsContext> context,
                                   const TlsTarget& target);
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;
  ~Tls();

  // The socket's bytes, which have to stay until `keep_rest`. There must be none left.
  void supply(const uint8_t* data, size_t length);
  // Copies what of it is left.
  void keep_rest();
  // The same, of bytes that the host had received before it wanted TLS.
  void prepend(const uint8_t* data, size_t length) {
    kept_.insert(kept_.end(), data, data + length);
  }
  bool has_rest() const { return input_ < input_end_ || !kept_.empty(); }

  // Goes on with the handshake.
  Step handshake(TlsSink& sink);
  bool secured() const { return secured_; }
  bool failed() const { return failed_; }
  // Up to `size` bytes of the program's; what it writes meanwhile are answers to the peer.
  Step read(TlsSink& sink, uint8_t* to, size_t size, size_t& length);
  // Encrypts bytes of the program's. False after a failure.
  bool write(TlsSink& sink, const uint8_t* data, size_t length);
  // Tells the peer that nothing more comes, if the handshake is over, and is mute. Idempotent.
  void shut(TlsSink& sink);
  // Nothing is sent from now on: what a peer makes it answer (a wish for new keys, for example) is
  // dropped, as the socket takes nothing after FIN. It can still be read from.
  void mute() { mute_ = true; }

  // So many bytes, which are not encrypted, go to the socket before its own: they count as written.
  void follow(size_t length);
  // The kernel took so many of its bytes: how many of the program's are now among those.
  size_t taken(size_t length);

  // Whether it has not taken all of them.
  bool unsent() const { return written_ != written_taken_; }

  // The answer to `asks`: the certificates of this context, and whom it trusts. False if there is
  // none.
  bool use(SSL_CTX* context);
  // The answer if there is none: the handshake goes on with those that it began with.
  void proceed();
  bool asking() const { return asking_; }

  // OpenSSL's number of the failure, or 0; and what is wrong with the peer's certificate, or 0.
  uint32_t reason() const { return reason_; }
  int32_t verify() const;
  bool reused() const;
  // Whether there is a new session, once.
  bool take_session();

  SSL* ssl() const { return ssl_; }
  const OpenSsl& openssl() const { return *context_->openssl; }

  static int read_bio(BIO* bio, char* to, int size);
  static int write_bio(BIO* bio, const char* data, int length);

 private:
  // The last of the program's bytes is in the socket's stream before this place.
  struct Mark {
    uint64_t sealed;
    uint64_t written;
  };

  struct Callbacks {
    void* (*data_of_bio)(BIO*) = nullptr;
    void (*set_flags)(BIO*, int) = nullptr;
    void (*clear_flags)(BIO*, int) = nullptr;
    void* (*data_of_ssl)(const SSL*, int) = nullptr;
    int (*error_of)(void*) = nullptr;
    int (*depth_of)(void*) = nullptr;
  };

  explicit Tls(std::shared_ptr<const TlsContext> context) : context_(std::move(context)) {}
  bool start(const TlsTarget& target);
  Step outcome(int result);
  void enter(TlsSink& sink);
  void forget_kept();
  static const Callbacks& callbacks();
  static int judge(int right, void* verification);
  static int choose_certificate(SSL* ssl, void* tls);
  static int choose_protocol(SSL* ssl, const uint8_t** chosen, uint8_t* length,
                             const uint8_t* offered, unsigned size, void*);
  static int new_session(SSL* ssl, SSL_SESSION*);

  std::shared_ptr<const TlsContext> context_;
  SSL* ssl_ = nullptr;
  TlsSink* sink_ = nullptr;
  const uint8_t* input_ = nullptr;
  const uint8_t* input_end_ = nullptr;
  // What was left, in order before the input; and how much of it is read.
  std::vector<uint8_t> kept_;
  size_t kept_read_ = 0;
  uint64_t sealed_ = 0;
  uint64_t taken_ = 0;
  uint64_t written_ = 0;
  uint64_t written_taken_ = 0;
  std::vector<Mark> marks_;
  size_t mark_next_ = 0;
  uint32_t reason_ = 0;
  bool secured_ = false;
  bool failed_ = false;
  bool mute_ = false;
  bool asking_ = false;
  bool answered_ = false;
  bool has_session_ = false;
};

}  // namespace marketplace::engine
