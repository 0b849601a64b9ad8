// Options as JavaScript hands them over: those of sockets as words of an Int32Array, as layout.h
// has them, in place of an object whose properties would have to be asked for one by one.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <vector>

#include "../engine/prefix.h"
#include "layout.h"

namespace marketplace::binding {

// The properties of an object. False: it is not there, or of the wrong kind.
class Properties {
 public:
  Properties(napi_env env, napi_value object) : env_(env), object_(object) {}
  bool number(const char* name, uint32_t& out) const;
  bool flag(const char* name, bool& out) const;
  // Bytes, or milliseconds: not negative; from 2^53 on, Infinity included, `out` stays as it is.
  bool amount(const char* name, size_t& out) const;

 private:
  napi_env env_;
  napi_value object_;
};

// The array's memory; nullptr if it is not an Int32Array, or too short.
int32_t* words_of(napi_env env, napi_value value, size_t count);

// The same of a Uint8Array of any length, which it tells.
uint8_t* octets_of(napi_env env, napi_value value, size_t& length);

// The same of a Float64Array.
double* doubles_of(napi_env env, napi_value value, size_t count);

// Ranges of addresses, six words each: whether it is of IPv4, how many bits of an address count,
// the address. False: the value is neither that nor undefined.
bool read_ranges(napi_env env, napi_value value, std::vector<engine::PrefixRange>& out);

// False if it is no object with such properties.
bool read_limits(napi_env env, napi_value object, engine::Limits& out);

// False if the value is not an Int32Array with so many words.
template <typename Options>
bool read_options(napi_env env, napi_value value, size_t count, Options& out) {
  const int32_t* words = words_of(env, value, count);
  if (words != nullptr) read_words(words, out);
  return words != nullptr;
}

}  // namespace marketplace::binding
