// What OpenSSL has, as values of JavaScript; see tls.h.
#include "tls.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace marketplace::binding {

namespace {

using Holder = std::shared_ptr<const TlsContext>;

napi_value undefined(napi_env env) {
  napi_value result = nullptr;
  return napi_get_undefined(env, &result) == napi_ok ? result : nullptr;
}

bool set_text(napi_env env, napi_value object, const char* name, const char* text) {
  napi_value value = nullptr;
  if (text == nullptr) return true;
  return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok &&
         napi_set_named_property(env, object, name, value) == napi_ok;
}

// A new Uint8Array of so many bytes, whose memory is then at `data`.
napi_value new_bytes(napi_env env, size_t length, uint8_t*& data) {
  napi_value buffer = nullptr;
  napi_value result = nullptr;
  void* memory = nullptr;
  if (napi_create_arraybuffer(env, length, &memory, &buffer) != napi_ok) return nullptr;
  data = static_cast<uint8_t*>(memory);
  return napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result) == napi_ok
             ? result
             : nullptr;
}

// What one of OpenSSL's functions writes as DER, which tells its length first.
template <typename Write>
napi_value encoded(napi_env env, Write write) {
  const int length = write(nullptr);
  if (length <= 0) return undefined(env);
  uint8_t* data = nullptr;
  napi_value result = new_bytes(env, static_cast<size_t>(length), data);
  if (result != nullptr) write(&data);
  return result;
}

}  // namespace

bool bytes_of(napi_env env, napi_value value, std::vector<uint8_t>& out) {
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  bool is_array = false;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return false;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
    return false;
  }
  if (type != napi_uint8_array) return false;
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  if (length > 0) out.assign(bytes, bytes + length);
  return true;
}

engine::SSL_CTX* context_at(napi_env env, napi_value address) {
  uint64_t value = 0;
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, address, &value, &lossless) != napi_ok || !lossless) {
    return nullptr;
  }
  return reinterpret_cast<engine::SSL_CTX*>(value);
}

napi_value wrap_context(napi_env env, const napi_type_tag& tag,
                        std::shared_ptr<const TlsContext> context) {
  napi_value object = nullptr;
  if (napi_create_object(env, &object) != napi_ok) return nullptr;
  Holder* holder = new (std::nothrow) Holder(std::move(context));
  if (holder == nullptr) return nullptr;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Holder*>(data); };
  if (napi_wrap(env, object, holder, finalize, nullptr, nullptr) != napi_ok) {
    delete holder;
    return nullptr;
  }
  return napi_type_tag_object(env, object, &tag) == napi_ok ? object : nullptr;
}

std::shared_ptr<const TlsContext> unwrap_context(napi_env env, const napi_type_tag& tag,
                                                 napi_value value) {
  napi_valuetype type = napi_undefined;
  bool tagged = false;
  void* holder = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object) return nullptr;
  if (napi_check_object_type_tag(env, value, &tag, &tagged) != napi_ok || !tagged) return nullptr;
  if (napi_unwrap(env, value, &holder) != napi_ok) return nullptr;
  return *static_cast<Holder*>(holder);
}

napi_value describe_tls(napi_env env, const Tls& tls) {
  const OpenSsl& o = tls.openssl();
  napi_value result = nullptr;
  napi_value verify = nullptr;
  napi_value reused = nullptr;
  napi_value protocol = nullptr;
  const uint8_t* chosen = nullptr;
  unsigned length = 0;
  o.SSL_get0_alpn_selected(tls.ssl(), &chosen, &length);
  const engine::SSL_CIPHER* cipher = o.SSL_get_current_cipher(tls.ssl());
  bool made = napi_create_object(env, &result) == napi_ok &&
              set_text(env, result, "protocol", o.SSL_get_version(tls.ssl())) &&
              set_text(env, result, "servername", o.SSL_get_servername(tls.ssl(), 0)) &&
              napi_create_int32(env, tls.verify(), &verify) == napi_ok &&
              napi_set_named_property(env, result, "verify", verify) == napi_ok &&
              napi_get_boolean(env, tls.reused(), &reused) == napi_ok &&
              napi_set_named_property(env, result, "reused", reused) == napi_ok;
  if (made && cipher != nullptr) {
    made = set_text(env, result, "cipher", o.SSL_CIPHER_get_name(cipher)) &&
           set_text(env, result, "cipherStandardName", o.SSL_CIPHER_standard_name(cipher)) &&
           set_text(env, result, "cipherVersion", o.SSL_CIPHER_get_version(cipher));
  }
  if (made && length > 0) {
    made = napi_create_string_latin1(env, reinterpret_cast<const char*>(chosen), length,
                                     &protocol) == napi_ok &&
           napi_set_named_property(env, result, "alpnProtocol", protocol) == napi_ok;
  }
  return made ? result : nullptr;
}

napi_value certificates_of(napi_env env, const Tls& tls, bool own) {
  const OpenSsl& o = tls.openssl();
  napi_value list = nullptr;
  uint32_t count = 0;
  if (napi_create_array(env, &list) != napi_ok) return nullptr;
  const auto add = [&](const engine::X509* certificate) {
    napi_value bytes = encoded(env, [&](uint8_t** to) { return o.i2d_X509(certificate, to); });
    return bytes != nullptr && napi_set_element(env, list, count++, bytes) == napi_ok;
  };
  if (own) {
    const engine::X509* certificate = o.SSL_get_certificate(tls.ssl());
    return certificate == nullptr || add(certificate) ? list : nullptr;
  }
  engine::X509* first = o.SSL_get1_peer_certificate(tls.ssl());
  if (first == nullptr) return list;
  bool made = add(first);
  // Up to one that is trusted; where there was none, as it was sent.
  const engine::OPENSSL_STACK* chain = o.SSL_get0_verified_chain(tls.ssl());
  if (chain == nullptr) chain = o.SSL_get_peer_cert_chain(tls.ssl());
  const int size = chain == nullptr ? 0 : o.OPENSSL_sk_num(chain);
  for (int i = 0; made && i < size; i++) {
    const auto* certificate = static_cast<const engine::X509*>(o.OPENSSL_sk_value(chain, i));
    // But for that of a server's, as it was sent, the chain begins with the peer's own.
    if (certificate != first) made = add(certificate);
  }
  o.X509_free(first);
  return made ? list : nullptr;
}

napi_value session_of(napi_env env, const Tls& tls) {
  const OpenSsl& o = tls.openssl();
  engine::SSL_SESSION* session = o.SSL_get_session(tls.ssl());
  if (session == nullptr) return undefined(env);
  return encoded(env, [&](uint8_t** to) { return o.i2d_SSL_SESSION(session, to); });
}

napi_value error_in_words(napi_env env, const OpenSsl& openssl, uint32_t reason, int32_t verify) {
  napi_value result = nullptr;
  const bool made = napi_create_object(env, &result) == napi_ok &&
                    set_text(env, result, "reason", openssl.ERR_reason_error_string(reason)) &&
                    set_text(env, result, "library", openssl.ERR_lib_error_string(reason)) &&
                    set_text(env, result, "verify", openssl.X509_verify_cert_error_string(verify));
  return made ? result : nullptr;
}

}  // namespace marketplace::binding
