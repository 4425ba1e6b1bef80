#include "binding/isa.h"

#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace dtrain {
namespace {

// A feature of isas.inc has GCC's name on x86, and a bit of the kernel's below on ARM; elsewhere nobody can be asked.
#if defined(__x86_64__) || defined(__i386__)
#define DTRAIN_HAS(name) __builtin_cpu_supports(#name)  // it also asks whether the system saves the wide registers
#elif defined(__aarch64__) && defined(__linux__)
[[maybe_unused]] constexpr unsigned long kBit_neon = 1ul << 1;      // HWCAP_ASIMD
[[maybe_unused]] constexpr unsigned long kBit_dotprod = 1ul << 20;  // HWCAP_ASIMDDP
#define DTRAIN_HAS(name) ((getauxval(AT_HWCAP) & kBit_##name) != 0)
#else
#define DTRAIN_HAS(name) false
#endif

std::vector<InstructionSet> ask() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
#endif
  return {
#define FEATURE(name) #name,
#define ISA(name, features, checks) {#name, {features}, true checks},
#define CHECK(name) &&DTRAIN_HAS(name)
#include "isas.inc"
#undef FEATURE
#undef ISA
#undef CHECK
  };
}

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
  static const std::vector<InstructionSet> found = ask();
  return found;
}

bool cpu_supports(const char* isa) {
  for (const InstructionSet& known : instruction_sets()) {
    if (std::strcmp(isa, known.name) == 0) return known.is_supported;
  }
  return false;
}

}  // namespace dtrain
