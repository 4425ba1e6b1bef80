#include "gelu/gelu.h"
#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

bool is_tanh_form(Call& call) {
  const std::string approximate = call.text("approximate");
  call.expect(approximate == "tanh" || approximate == "none", "approximate as 'none' or 'tanh'");
  return approximate == "tanh";
}

template <typename T>
auto bind_gelu(Call& call, gelu_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const auto out = call.output<T>();
  call.expect(x.size == out.size, "x and out of one size");
  const bool tanh_form = is_tanh_form(call);
  return [=] {
    const std::int64_t bytes = out.size * sizeof(T) * 4;
    ReleaseGil unlocked(bytes);
    share_elements(out.size, bytes, [&](std::int64_t first, std::int64_t size) {
      kernel(x.data + first, out.data + first, size, tanh_form);
    });
  };
}

template <typename T>
auto bind_gelu_backward(Call& call, gelu_backward_fn<T>* kernel) {
  const auto grad = call.input<T>(0), x = call.input<T>(1);
  const auto out = call.output<T>();
  call.expect(grad.size == out.size && x.size == out.size, "grad, x and out of one size");
  const bool tanh_form = is_tanh_form(call);
  return [=] {
    const std::int64_t bytes = out.size * sizeof(T) * 4;
    ReleaseGil unlocked(bytes);
    share_elements(out.size, bytes, [&](std::int64_t first, std::int64_t size) {
      kernel(grad.data + first, x.data + first, out.data + first, size, tanh_form);
    });
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY gelu
#define DTRAIN_KERNELS "gelu/kernels.inc"
#include "binding/rows.h"
