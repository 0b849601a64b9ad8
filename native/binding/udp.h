// The class `Udp` that JavaScript sees. No logic: decode, call, encode. Arguments were checked by
// src/transport/udp-*.ts; what is checked here is what would otherwise corrupt memory.
#pragma once

#include <node_api.h>

namespace marketplace::binding {

// Adds the class to what the addon exports. False: it left an exception, or the environment ends.
bool export_udp(napi_env env, napi_value exports);

}  // namespace marketplace::binding
