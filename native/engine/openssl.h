// The functions of OpenSSL 3 that the engine uses, found in the process that it runs in: Node has
// them, and programs beside it would be wrong to bring a second OpenSSL. So nothing is linked, and
// where one of them is missing (an other library, a Node without OpenSSL) there is no TLS here.
//
// Owns the table, and the kind of BIO by which OpenSSL reads and writes memory of ours.
// Types are OpenSSL's, opaque; numbers are those of its interface, which has kept them since 1.1.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

struct ssl_st;
struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_cipher_st;
struct bio_st;
struct bio_method_st;
struct x509_st;
struct x509_store_st;
struct evp_pkey_st;
struct stack_st;

namespace marketplace::engine {

using SSL = ssl_st;
using SSL_CTX = ssl_ctx_st;
using SSL_SESSION = ssl_session_st;
using SSL_CIPHER = ssl_cipher_st;
using BIO = bio_st;
using BIO_METHOD = bio_method_st;
using X509 = x509_st;
using X509_STORE = x509_store_st;
using EVP_PKEY = evp_pkey_st;
using OPENSSL_STACK = stack_st;
using VerifyCallback = int (*)(int, void*);

// Each function with its type. `find` fills them in by their names.
#define MARKETPLACE_OPENSSL(function)                                                           \
  function(OpenSSL_version_num, unsigned long());                                               \
  function(BIO_meth_new, BIO_METHOD*(int, const char*));                                        \
  function(BIO_meth_free, void(BIO_METHOD*));                                                   \
  function(BIO_meth_set_write, int(BIO_METHOD*, int (*)(BIO*, const char*, int)));              \
  function(BIO_meth_set_read, int(BIO_METHOD*, int (*)(BIO*, char*, int)));                     \
  function(BIO_meth_set_ctrl, int(BIO_METHOD*, long (*)(BIO*, int, long, void*)));              \
  function(BIO_meth_set_create, int(BIO_METHOD*, int (*)(BIO*)));                               \
  function(BIO_new, BIO*(const BIO_METHOD*));                                                   \
  function(BIO_set_data, void(BIO*, void*));                                                    \
  function(BIO_get_data, void*(BIO*));                                                          \
  function(BIO_set_init, void(BIO*, int));                                                      \
  function(BIO_set_flags, void(BIO*, int));                                                     \
  function(BIO_clear_flags, void(BIO*, int));                                                   \
  function(ERR_clear_error, void());                                                            \
  function(ERR_peek_error, unsigned long());                                                    \
  function(ERR_reason_error_string, const char*(unsigned long));                                \
  function(ERR_lib_error_string, const char*(unsigned long));                                   \
  function(SSL_CTX_up_ref, int(SSL_CTX*));                                                      \
  function(SSL_CTX_free, void(SSL_CTX*));                                                       \
  function(SSL_CTX_ctrl, long(SSL_CTX*, int, long, void*));                                     \
  function(SSL_CTX_get0_certificate, X509*(const SSL_CTX*));                                    \
  function(SSL_CTX_get0_privatekey, EVP_PKEY*(const SSL_CTX*));                                 \
  function(SSL_CTX_get_cert_store, X509_STORE*(const SSL_CTX*));                                \
  function(SSL_CTX_get_client_CA_list, OPENSSL_STACK*(const SSL_CTX*));                         \
  function(                                                                                     \
      SSL_CTX_set_alpn_select_cb,                                                               \
      void(SSL_CTX*, int (*)(SSL*, const uint8_t**, uint8_t*, const uint8_t*, unsigned, void*), \
           void*));                                                                             \
  function(SSL_CTX_sess_set_new_cb, void(SSL_CTX*, int (*)(SSL*, SSL_SESSION*)));               \
  function(SSL_new, SSL*(SSL_CTX*));                                                            \
  function(SSL_free, void(SSL*));                                                               \
  function(SSL_set_bio, void(SSL*, BIO*, BIO*));                                                \
  function(SSL_set_ex_data, int(SSL*, int, void*));                                             \
  function(SSL_get_ex_data, void*(const SSL*, int));                                            \
  function(SSL_set_accept_state, void(SSL*));                                                   \
  function(SSL_set_connect_state, void(SSL*));                                                  \
  function(SSL_do_handshake, int(SSL*));                                                        \
  function(SSL_read, int(SSL*, void*, int));                                                    \
  function(SSL_write, int(SSL*, const void*, int));                                             \
  function(SSL_shutdown, int(SSL*));                                                            \
  function(SSL_get_error, int(const SSL*, int));                                                \
  function(SSL_ctrl, long(SSL*, int, long, void*));                                             \
  function(SSL_set_options, uint64_t(SSL*, uint64_t));                                          \
  function(SSL_set_verify, void(SSL*, int, VerifyCallback));                                    \
  function(SSL_get_verify_result, long(const SSL*));                                            \
  function(SSL_set_cert_cb, void(SSL*, int (*)(SSL*, void*), void*));                           \
  function(SSL_certs_clear, void(SSL*));                                                        \
  function(SSL_use_cert_and_key, int(SSL*, X509*, EVP_PKEY*, OPENSSL_STACK*, int));             \
  function(SSL_set_client_CA_list, void(SSL*, OPENSSL_STACK*));                                 \
  function(SSL_dup_CA_list, OPENSSL_STACK*(const OPENSSL_STACK*));                              \
  function(SSL_set_alpn_protos, int(SSL*, const uint8_t*, unsigned));                           \
  function(SSL_select_next_proto,                                                               \
           int(uint8_t**, uint8_t*, const uint8_t*, unsigned, const uint8_t*, unsigned));       \
  function(SSL_get0_alpn_selected, void(const SSL*, const uint8_t**, unsigned*));               \
  function(SSL_get_servername, const char*(const SSL*, int));                                   \
  function(SSL_get_version, const char*(const SSL*));                                           \
  function(SSL_get_current_cipher, const SSL_CIPHER*(const SSL*));                              \
  function(SSL_CIPHER_get_name, const char*(const SSL_CIPHER*));                                \
  function(SSL_CIPHER_standard_name, const char*(const SSL_CIPHER*));                           \
  function(SSL_CIPHER_get_version, const char*(const SSL_CIPHER*));                             \
  function(SSL_session_reused, int(const SSL*));                                                \
  function(SSL_get_session, SSL_SESSION*(const SSL*));                                          \
  function(SSL_set_session, int(SSL*, SSL_SESSION*));                                           \
  function(SSL_SESSION_free, void(SSL_SESSION*));                                               \
  function(i2d_SSL_SESSION, int(SSL_SESSION*, uint8_t**));                                      \
  function(d2i_SSL_SESSION, SSL_SESSION*(SSL_SESSION**, const uint8_t**, long));                \
  function(SSL_get1_peer_certificate, X509*(const SSL*));                                       \
  function(SSL_get_peer_cert_chain, OPENSSL_STACK*(const SSL*));                                \
  function(SSL_get0_verified_chain, OPENSSL_STACK*(const SSL*));                                \
  function(SSL_get_certificate, X509*(const SSL*));                                             \
  function(OPENSSL_sk_num, int(const OPENSSL_STACK*));                                          \
  function(OPENSSL_sk_value, void*(const OPENSSL_STACK*, int));                                 \
  function(X509_free, void(X509*));                                                             \
  function(i2d_X509, int(const X509*, uint8_t**));                                              \
  function(X509_verify_cert_error_string, const char*(long))

class OpenSsl {
 public:
  // What this process has; nullptr, with `missing` set to a name, if that is not enough.
  static std::unique_ptr<const OpenSsl> find(const char*& missing);
  OpenSsl(const OpenSsl&) = delete;
  OpenSsl& operator=(const OpenSsl&) = delete;
  ~OpenSsl();

  // Reads and writes for the `Tls` that is its data.
  const BIO_METHOD* memory() const { return memory_; }

#define MARKETPLACE_OPENSSL_MEMBER(name, type) std::add_pointer_t<type> name = nullptr
  MARKETPLACE_OPENSSL(MARKETPLACE_OPENSSL_MEMBER);
#undef MARKETPLACE_OPENSSL_MEMBER

 private:
  OpenSsl() = default;

  BIO_METHOD* memory_ = nullptr;
};

}  // namespace marketplace::engine
