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

int32_t* words_of(napi_env env, napi_value value, size_t count) {
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
    return nullptr;
  }
  return type == napi_int32_array && length >= count ? static_cast<int32_t*>(data) : nullptr;
}

}  // namespace marketplace::binding
