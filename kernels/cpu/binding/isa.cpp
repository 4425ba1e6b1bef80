#include "binding/isa.h"

#include <cstring>

namespace dtrain {
namespace {

struct Features {
  bool avx2 = false;
  bool avx512 = false;
};

Features detect() {
  Features found;
#ifdef DTRAIN_X86
  // These also ask whether the operating system saves the wide registers.
  __builtin_cpu_init();
  found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  found.avx512 = found.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  return found;
}

}  // namespace

bool cpu_supports(const char* isa) {
  static const Features features = detect();
  if (std::strcmp(isa, "scalar") == 0) return true;
  if (std::strcmp(isa, "avx2") == 0) return features.avx2;
  if (std::strcmp(isa, "avx512") == 0) return features.avx512;
  return false;
}

}  // namespace dtrain
