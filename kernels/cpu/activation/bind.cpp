#include "activation/activation.h"
#include "binding/table.h"

namespace dtrain {
namespace {

template <typename T>
void bind_relu_backward(Call& call, relu_backward_fn<T>* kernel) {
  const auto grad = call.input<T>(0), y = call.input<T>(1);
  const auto out = call.output<T>();
  call.expect(grad.size == out.size && y.size == out.size, "grad, y and out of one size");
  ReleaseGil unlocked(out.size * sizeof(T));
  kernel(grad.data, y.data, out.data, out.size);
}

}  // namespace

void add_activation(Table& table) {
#define KERNEL DTRAIN_ADD_ROW
#include "activation/kernels.inc"
#undef KERNEL
}

}  // namespace dtrain
