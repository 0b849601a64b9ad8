// The search for OpenSSL's functions; see openssl.h.
#include "openssl.h"

#include <dlfcn.h>

#include "tls.h"

namespace marketplace::engine {

namespace {

// What its numbers and the functions' types are those of.
constexpr unsigned long version_first = 0x30000000UL;
constexpr unsigned long version_end = 0x50000000UL;
// A source and sink of memory: OpenSSL's number for one without a descriptor.
constexpr int bio_type = 1 | 0x0400;
constexpr int bio_control_flush = 11;

// A function as the object that dlsym gives.
template <typename Function>
bool look_up(const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
  return function != nullptr;
}

}  // namespace

std::unique_ptr<const OpenSsl> OpenSsl::find(const char*& missing) {
  std::unique_ptr<OpenSsl> found(new OpenSsl);
  missing = nullptr;
#define MARKETPLACE_OPENSSL_FIND(name, type) \
  if (missing == nullptr && !look_up(#name, found->name)) missing = #name
  MARKETPLACE_OPENSSL(MARKETPLACE_OPENSSL_FIND);
#undef MARKETPLACE_OPENSSL_FIND
  if (missing != nullptr) return nullptr;
  const unsigned long version = found->OpenSSL_version_num();
  if (version < version_first || version >= version_end) {
    missing = "OpenSSL 3";
    return nullptr;
  }
  found->memory_ = found->BIO_meth_new(bio_type, "marketplace");
  if (found->memory_ == nullptr) {
    missing = "memory";
    return nullptr;
  }
  // A BIO is initialized when it has its `Tls`.
  found->BIO_meth_set_create(found->memory_, [](BIO*) { return 1; });
  found->BIO_meth_set_read(found->memory_, Tls::read_bio);
  found->BIO_meth_set_write(found->memory_, Tls::write_bio);
  found->BIO_meth_set_ctrl(found->memory_, [](BIO*, int command, long, void*) {
    return command == bio_control_flush ? 1L : 0L;
  });
  return found;
}

OpenSsl::~OpenSsl() {
  if (memory_ != nullptr) BIO_meth_free(memory_);
}

}  // namespace marketplace::engine
