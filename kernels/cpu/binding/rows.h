// Ends a bind.cpp: declares the instances of DTRAIN_FAMILY, and defines add_<family>, which adds their rows to the table.
//
// For an op it finds the contract `op_fn<T>` and the reader `bind_op<T>`, for an algorithm that stands apart those of
// `op_algorithm`; a family whose readers go by the contract defines DTRAIN_READER(op). No include guard: it is included
// once a file.

#include "binding/kernel_list.h"
#include "binding/table.h"

#ifndef DTRAIN_READER
#define DTRAIN_READER(op) bind_##op
#endif

namespace dtrain {

#define KERNEL(isa, op, type, tag) extern op##_fn<type>* const op##_##tag##_##isa;
#define KERNEL_BY(isa, op, algorithm, contract, type, tag) \
  extern contract##_fn<type>* const op##_##tag##_##algorithm##_##isa;
#include DTRAIN_KERNELS
#undef KERNEL
#undef KERNEL_BY

// A reader takes the type of its contract; what it returns has a type without a name.
#define DTRAIN_CLOSURE(contract, type) \
  decltype(DTRAIN_READER(contract)<type>(std::declval<Call&>(), static_cast<contract##_fn<type>*>(nullptr)))
#define DTRAIN_ROW(isa, op, algorithm, contract, type, kernel)                                              \
  add_row<type, contract##_fn<type>, DTRAIN_CLOSURE(contract, type), DTRAIN_READER(contract)<type>>( \
      table, #op, algorithm, #kernel, #isa, kernel);
#define KERNEL(isa, op, type, tag) DTRAIN_ROW(isa, op, "", op, type, op##_##tag##_##isa)
#define KERNEL_BY(isa, op, algorithm, contract, type, tag) \
  DTRAIN_ROW(isa, op, #algorithm, contract, type, op##_##tag##_##algorithm##_##isa)
#define DTRAIN_JOIN(first, second) first##second
#define DTRAIN_ADD(family) DTRAIN_JOIN(add_, family)
void DTRAIN_ADD(DTRAIN_FAMILY)(Table& table) {
#include DTRAIN_KERNELS
}
#undef KERNEL
#undef KERNEL_BY

}  // namespace dtrain
