// How numbers lie in memory, and in which precision kernels compute: f16 and bf16 are widened to f32 and rounded once.
// Needs no toolkit header, so that NVRTC, nvcc and the emulation of the tests read the same text.
#pragma once

typedef long long s64;

constexpr int BLOCK_SIZE = 256;  // threads a block, a power of two

struct f16 {
  unsigned short bits;
};

struct bf16 {
  unsigned short bits;
};

template <typename T>
struct AccumulatorOf {
  typedef T type;
};
template <>
struct AccumulatorOf<f16> {
  typedef float type;
};
template <>
struct AccumulatorOf<bf16> {
  typedef float type;
};
template <typename T>
using Accumulator = typename AccumulatorOf<T>::type;

__device__ inline float float_of_bits(unsigned int bits) {
  union {
    unsigned int bits;
    float value;
  } both;
  both.bits = bits;
  return both.value;
}

__device__ inline unsigned int bits_of_float(float value) {
  union {
    float value;
    unsigned int bits;
  } both;
  both.value = value;
  return both.bits;
}

#ifdef __CUDA_ARCH__
__device__ inline float widen_f16(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ inline unsigned short round_f16(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#else
// Defined by whoever runs this text on a host.
__device__ float widen_f16(unsigned short bits);
__device__ unsigned short round_f16(float value);
#endif

__device__ inline float widen(float value) { return value; }
__device__ inline double widen(double value) { return value; }
__device__ inline float widen(f16 value) { return widen_f16(value.bits); }
__device__ inline float widen(bf16 value) { return float_of_bits((unsigned int)value.bits << 16); }

// Round to nearest, ties to even; a NaN stays a NaN whatever its low bits were.
__device__ inline void store(bf16* out, float value) {
  const unsigned int bits = bits_of_float(value);
  const unsigned int rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out->bits = (unsigned short)(value != value ? 0x7fc0u | ((bits >> 16) & 0x8000u) : rounded);
}
__device__ inline void store(f16* out, float value) { out->bits = round_f16(value); }
__device__ inline void store(float* out, float value) { *out = value; }
__device__ inline void store(double* out, double value) { *out = value; }

// Quotient of numbers ≥ 0. Division of 64 bits is many times slower than of 32 bits, and rarely needed.
__device__ inline s64 quotient(s64 number, s64 divisor) {
  if (((number | divisor) >> 32) == 0) return (s64)((unsigned int)number / (unsigned int)divisor);
  return number / divisor;
}

// A scalar that the host keeps on the device, so that a schedule changes no graph.
__device__ inline double load_scalar(const void* scalar, int is_f64) {
  return is_f64 ? *(const double*)scalar : (double)*(const float*)scalar;
}

// Loops over all elements run from here in steps of grid_stride(), so that a grid of any size covers them.
__device__ inline s64 grid_start() { return (s64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline s64 grid_stride() { return (s64)gridDim.x * blockDim.x; }
