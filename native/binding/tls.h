// TLS as JavaScript sees it: contexts as objects, and what is to be known of a connection's TLS.
//
// Owns how a context hangs on its JavaScript object. What OpenSSL has is asked for each time.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "../engine/tls.h"

namespace marketplace::binding {

using engine::OpenSsl;
using engine::Tls;
using engine::TlsContext;

// What a Uint8Array holds; false if it is none.
bool bytes_of(napi_env env, napi_value value, std::vector<uint8_t>& out);

// The address of a context of OpenSSL's, as src/transport/native/tls.ts has found it; nullptr for
// anything but a bigint. It is believed.
engine::SSL_CTX* context_at(napi_env env, napi_value address);

// An object that stands for the context, with the tag; nullptr, perhaps with an exception.
napi_value wrap_context(napi_env env, const napi_type_tag& tag,
                        std::shared_ptr<const TlsContext> context);
// nullptr if the value is no such object.
std::shared_ptr<const TlsContext> unwrap_context(napi_env env, const napi_type_tag& tag,
                                                 napi_value value);

// { protocol, cipher, cipherStandardName, cipherVersion, alpnProtocol, servername, verify, reused
// }.
napi_value describe_tls(napi_env env, const Tls& tls);
// The peer's certificates as an array of Uint8Arrays (DER), its own first. Or that of this side.
napi_value certificates_of(napi_env env, const Tls& tls, bool own);
// The session, or undefined if there is none.
napi_value session_of(napi_env env, const Tls& tls);
// OpenSSL's words: { reason, library } of an error, and the text of what is wrong with a
// certificate.
napi_value error_in_words(napi_env env, const OpenSsl& openssl, uint32_t reason, int32_t verify);

}  // namespace marketplace::binding
