// Instances of a kernel template: DTRAIN_INSTANCE(op, isa) defines op_f32_isa and op_f64_isa, listed in kernels.inc.
#pragma once

#define DTRAIN_INSTANCE(op, isa)                               \
  op##_fn<float>* const op##_f32_##isa = op<isa::Vec<float>>;  \
  op##_fn<double>* const op##_f64_##isa = op<isa::Vec<double>>;
