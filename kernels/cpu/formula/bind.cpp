#include "formula/formula.h"

#include "binding/table.h"

namespace dtrain {
namespace {

template <typename T>
auto bind_elementwise(Call& call, unary_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const auto out = call.output<T>();
  call.expect(x.size == out.size, "x and out of one size");
  return [=] {
    ReleaseGil unlocked(out.size * sizeof(T));
    kernel(x.data, out.data, out.size);
  };
}

template <typename T>
auto bind_elementwise(Call& call, gradient_fn<T>* kernel) {
  const auto grad = call.input<T>(0), from = call.input<T>(1);
  const auto out = call.output<T>();
  call.expect(grad.size == out.size && from.size == out.size, "grad, y and out of one size");
  return [=] {
    ReleaseGil unlocked(out.size * sizeof(T));
    kernel(grad.data, from.data, out.data, out.size);
  };
}

}  // namespace
}  // namespace dtrain

// A kernel's contract chooses its reader.
#define DTRAIN_READER(op) bind_elementwise
#define DTRAIN_FAMILY formula
#define DTRAIN_KERNELS "formula/kernels.inc"
#include "binding/rows.h"
