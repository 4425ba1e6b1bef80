#include "activation/activation.h"
#include "binding/table.h"

namespace dtrain {
namespace {

template <typename T>
void bind_elementwise(Call& call, unary_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const auto out = call.output<T>();
  call.expect(x.size == out.size, "x and out of one size");
  ReleaseGil unlocked(out.size * sizeof(T));
  kernel(x.data, out.data, out.size);
}

template <typename T>
void bind_elementwise(Call& call, gradient_fn<T>* kernel) {
  const auto grad = call.input<T>(0), from = call.input<T>(1);
  const auto out = call.output<T>();
  call.expect(grad.size == out.size && from.size == out.size, "grad, y and out of one size");
  ReleaseGil unlocked(out.size * sizeof(T));
  kernel(grad.data, from.data, out.data, out.size);
}

}  // namespace

// All kernels of this family have one of two contracts, so two readers serve them.
void add_activation(Table& table) {
#define KERNEL(isa, op, name, type) \
  DTRAIN_WHEN_##isa((add_row<type, op##_fn<type>, bind_elementwise<type>>(table, #op, #name, #isa, name));)
#include "activation/kernels.inc"
#undef KERNEL
}

}  // namespace dtrain
