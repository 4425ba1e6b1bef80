// Which instruction sets this build has, and which of them this CPU runs.
//
// DTRAIN_WHEN_<isa>(text) keeps `text` only where that instruction set is compiled in; every expansion of a kernels.inc
// goes through it, so one list serves all platforms.
#pragma once

#define DTRAIN_WHEN_scalar(...) __VA_ARGS__
#ifdef DTRAIN_X86
#define DTRAIN_WHEN_avx2(...) __VA_ARGS__
#define DTRAIN_WHEN_avx512(...) __VA_ARGS__
#else
#define DTRAIN_WHEN_avx2(...)
#define DTRAIN_WHEN_avx512(...)
#endif

namespace dtrain {

// The names are those of the registry.
bool cpu_supports(const char* isa);

}  // namespace dtrain
