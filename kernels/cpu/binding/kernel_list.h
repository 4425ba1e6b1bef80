// How a kernels.inc reads: a line is a kernel, written once for all instruction sets and element types that it has.
//
//   FLOATS(op)               f32 and f64, on every instruction set
//   FLOATS_BY(op, algorithm) the same, another way to compute the op: the template `op_algorithm`, called as `op` is
//   FLOATS_APART(op, algorithm)  the same, with a contract and a reader of its own: `op_algorithm_fn`, `bind_op_algorithm`
//   NARROW_FLOATS(op)        f32 and f64 up to 256 bits: it only moves elements, and wider vectors gain nothing
//   SCALAR_FLOATS(op)        f32 and f64, plain code only
//   ELEMENTS(op)             every element type that arrays are reduced in, on every instruction set
//
// A line becomes KERNEL(isa, op, type, tag) or KERNEL_BY(isa, op, algorithm, contract, type, tag), which whoever includes
// a list defines: in a binding for all instruction sets of the build, best first, and in an instance file for the one that
// it is compiled for.
#pragma once

#ifdef DTRAIN_ISA
#define DTRAIN_EACH_ISA(F, ...) F(DTRAIN_ISA, __VA_ARGS__)
#ifdef DTRAIN_ISA_WIDE
#define DTRAIN_EACH_NARROW_ISA(F, ...)
#else
#define DTRAIN_EACH_NARROW_ISA(F, ...) F(DTRAIN_ISA, __VA_ARGS__)
#endif
#else
#include "isa_list.h"
#endif

#if !defined(DTRAIN_ISA) || defined(DTRAIN_ISA_scalar)
#define DTRAIN_SCALAR_ISA(F, ...) F(scalar, __VA_ARGS__)
#else
#define DTRAIN_SCALAR_ISA(F, ...)
#endif

#define DTRAIN_FLOATS(isa, op) KERNEL(isa, op, float, f32) KERNEL(isa, op, double, f64)
#define DTRAIN_ELEMENTS(isa, op)     \
  DTRAIN_FLOATS(isa, op)             \
  KERNEL(isa, op, Float16, f16)      \
  KERNEL(isa, op, BFloat16, bf16)    \
  KERNEL(isa, op, std::int64_t, s64) \
  KERNEL(isa, op, std::int32_t, s32) \
  KERNEL(isa, op, std::int16_t, s16) \
  KERNEL(isa, op, std::int8_t, s8)   \
  KERNEL(isa, op, std::uint8_t, u8)  \
  KERNEL(isa, op, bool, bool)

#define DTRAIN_FLOATS_BY(isa, op, algorithm, contract)  \
  KERNEL_BY(isa, op, algorithm, contract, float, f32) \
  KERNEL_BY(isa, op, algorithm, contract, double, f64)

#define FLOATS(op) DTRAIN_EACH_ISA(DTRAIN_FLOATS, op)
#define FLOATS_BY(op, algorithm) DTRAIN_EACH_ISA(DTRAIN_FLOATS_BY, op, algorithm, op)
#define FLOATS_APART(op, algorithm) DTRAIN_EACH_ISA(DTRAIN_FLOATS_BY, op, algorithm, op##_##algorithm)
#define NARROW_FLOATS(op) DTRAIN_EACH_NARROW_ISA(DTRAIN_FLOATS, op)
#define SCALAR_FLOATS(op) DTRAIN_SCALAR_ISA(DTRAIN_FLOATS, op)
#define ELEMENTS(op) DTRAIN_EACH_ISA(DTRAIN_ELEMENTS, op)
