// Properties of objects, and words of arrays; see options.h.
#include "options.h"

#include <cstddef>
#include <cstdint>

namespace marketplace::binding {

bool Properties::number(const char* name, uint32_t& out) const {
  napi_value value = nullptr;
  return napi_get_named_property(env_, object_, name, &value) == napi_ok &&
         napi_get_value_uint32(env_, value, &out) == napi_ok;
}

bool Properties::flag(const char* name, bool& out) const {
  napi_value value = nullptr;
  return napi_get_named_property(env_, object_, name, &value) == napi_ok &&
         napi_get_value_bool(env_, value, &out) == napi_ok;
}

bool Properties::amount(const char* name, size_t& out) const {
  napi_value value = nullptr;
  double number = 0;
  if (napi_get_named_property(env_, object_, name, &value) != napi_ok) return false;
  if (napi_get_value_double(env_, value, &number) != napi_ok || !(number >= 0)) return false;
  if (number < 0x1p53) out = static_cast<size_t>(number);
  return true;
}

bool read_limits(napi_env env, napi_value object, engine::Limits& out) {
  const Properties from(env, object);
  size_t close_timeout_ms = static_cast<size_t>(out.close_timeout_ms);
  if (!from.amount("each", out.queued_max) || !from.amount("total", out.queued_total_max) ||
      !from.amount("closeTimeout", close_timeout_ms) || !from.flag("pauses", out.overflow_pauses)) {
    return false;
  }
  out.close_timeout_ms = static_cast<int64_t>(close_timeout_ms);
  return true;
}

namespace {

// The memory of a typed array of this type, and how many elements it has; otherwise nullptr.
void* elements_of(napi_env env, napi_value value, napi_typedarray_type wanted, size_t& count) {
  napi_typedarray_type type = napi_uint8_array;
  void* data = nullptr;
  count = 0;
  const bool is =
      napi_get_typedarray_info(env, value, &type, &count, &data, nullptr, nullptr) == napi_ok &&
      type == wanted;
  return is ? data : nullptr;
}

}  // namespace

uint8_t* octets_of(napi_env env, napi_value value, size_t& length) {
  return static_cast<uint8_t*>(elements_of(env, value, napi_uint8_array, length));
}

int32_t* words_of(napi_env env, napi_value value, size_t count) {
  size_t length = 0;
  void* data = elements_of(env, value, napi_int32_array, length);
  return length >= count ? static_cast<int32_t*>(data) : nullptr;
}

double* doubles_of(napi_env env, napi_value value, size_t count) {
  size_t length = 0;
  void* data = elements_of(env, value, napi_float64_array, length);
  return length >= count ? static_cast<double*>(data) : nullptr;
}

bool read_ranges(napi_env env, napi_value value, std::vector<engine::PrefixRange>& out) {
  constexpr size_t range_words = 6;
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, value, &type) != napi_ok) return false;
  if (type == napi_undefined) return true;
  size_t length = 0;
  const void* data = elements_of(env, value, napi_int32_array, length);
  if (data == nullptr || length % range_words != 0) return false;
  const int32_t* words = static_cast<const int32_t*>(data);
  for (size_t i = 0; i < length; i += range_words) {
    const bool is_v4 = words[i] != 0;
    const uint32_t bits = static_cast<uint32_t>(words[i + 1]);
    if (bits > (is_v4 ? 32u : 128u)) return false;
    out.push_back(engine::range_of(is_v4, bits, words + i + 2));
  }
  return true;
}

}  // namespace marketplace::binding
