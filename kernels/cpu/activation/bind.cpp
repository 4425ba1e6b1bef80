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

bool is_tanh_form(Call& call) {
  const std::string approximate = call.text("approximate");
  call.expect(approximate == "tanh" || approximate == "none", "approximate as 'none' or 'tanh'");
  return approximate == "tanh";
}

template <typename T>
void bind_elementwise(Call& call, gelu_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const auto out = call.output<T>();
  call.expect(x.size == out.size, "x and out of one size");
  const bool tanh_form = is_tanh_form(call);
  ReleaseGil unlocked(out.size * sizeof(T) * 4);
  kernel(x.data, out.data, out.size, tanh_form);
}

template <typename T>
void bind_elementwise(Call& call, gelu_backward_fn<T>* kernel) {
  const auto grad = call.input<T>(0), x = call.input<T>(1);
  const auto out = call.output<T>();
  call.expect(grad.size == out.size && x.size == out.size, "grad, x and out of one size");
  const bool tanh_form = is_tanh_form(call);
  ReleaseGil unlocked(out.size * sizeof(T) * 4);
  kernel(grad.data, x.data, out.data, out.size, tanh_form);
}

}  // namespace

}  // namespace dtrain

// A kernel's contract chooses its reader.
#define DTRAIN_READER(op) bind_elementwise
#define DTRAIN_FAMILY activation
#define DTRAIN_KERNELS "activation/kernels.inc"
#include "binding/rows.h"
