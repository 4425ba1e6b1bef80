// How a thread rounds and what it does with subnormal numbers: a thread of the pool computes as its caller would.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace dtrain {

#if defined(__x86_64__)
inline std::uint64_t floating_point_control() { return _mm_getcsr() & ~0x3Fu; }  // without the flags of what happened
inline void set_floating_point_control(std::uint64_t control) { _mm_setcsr(static_cast<unsigned>(control)); }
#elif defined(__aarch64__)
inline std::uint64_t floating_point_control() {
  std::uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  return control;
}
inline void set_floating_point_control(std::uint64_t control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
#else
inline std::uint64_t floating_point_control() { return 0; }
inline void set_floating_point_control(std::uint64_t) {}
#endif

}  // namespace dtrain
