#include "binding/isa.h"

#include <cstring>

namespace dtrain {

bool cpu_supports(const char* isa) {
#ifdef __x86_64__
  __builtin_cpu_init();
#endif
// It also asks whether the operating system saves the wide registers.
#define FEATURE(name) &&__builtin_cpu_supports(#name)
#define ISA(name, features) \
  if (std::strcmp(isa, #name) == 0) return true features;
#include "isas.inc"
#undef ISA
#undef FEATURE
  return false;
}

}  // namespace dtrain
