// Ends an instances.cpp: defines the kernels of its list for the instruction set that the file is compiled for, each a
// pointer op_tag_isa to an instance of the template `op`, or op_tag_algorithm_isa to one of `op_algorithm`.
//
// A template takes the vector type, or where the family defines DTRAIN_OVER(type) what that gives. The pointers are
// constants: nothing of an instance file may run before somebody has asked whether the CPU has the instructions.

#include "binding/kernel_list.h"

#define DTRAIN_TEXT(text) #text
#define DTRAIN_HEADER(isa) DTRAIN_TEXT(simd/isa.h)
#include DTRAIN_HEADER(DTRAIN_ISA)

#ifndef DTRAIN_OVER
#define DTRAIN_OVER(type) DTRAIN_ISA::Vec<type>
#endif

namespace dtrain {

#define KERNEL(isa, op, type, tag)                 \
  extern op##_fn<type>* const op##_##tag##_##isa; \
  op##_fn<type>* const op##_##tag##_##isa = op<DTRAIN_OVER(type)>;
#define KERNEL_BY(isa, op, algorithm, contract, type, tag)                    \
  extern contract##_fn<type>* const op##_##tag##_##algorithm##_##isa; \
  contract##_fn<type>* const op##_##tag##_##algorithm##_##isa = op##_##algorithm<DTRAIN_OVER(type)>;
#include DTRAIN_KERNELS
#undef KERNEL
#undef KERNEL_BY

}  // namespace dtrain
