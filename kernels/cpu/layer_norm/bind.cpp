#include "layer_norm/layer_norm.h"
#include "binding/table.h"

namespace dtrain {
namespace {

// Rows are over as many last axes as the weight has.
template <typename T>
RowShape read_rows(Call& call, const Array<const T>& x, const Array<const T>& weight) {
  call.expect(weight.size > 0 && x.size % weight.size == 0, "a weight of the shape of the last axes of x");
  return {x.size / weight.size, weight.size};
}

template <typename T>
T* write_sized(Call& call, int index, std::int64_t size) {
  const auto array = call.output<T>(index);
  call.expect(array.size == size, "outputs of the size of x, of its rows, and of the weight");
  return array.data;
}

template <typename T>
const T* read_sized(Call& call, int index, std::int64_t size) {
  const auto array = call.input<T>(index);
  call.expect(array.size == size, "inputs of the size of x, of its rows, and of the weight");
  return array.data;
}

template <typename T>
auto bind_layer_norm(Call& call, layer_norm_fn<T>* kernel) {
  const auto x = call.input<T>(0), weight = call.input<T>(1);
  const RowShape shape = read_rows(call, x, weight);
  const T* bias = read_sized<T>(call, 2, shape.size);
  const LayerNormOutputs<T> out{write_sized<T>(call, 0, x.size), write_sized<T>(call, 1, shape.rows),
                                write_sized<T>(call, 2, shape.rows)};
  const T eps = static_cast<T>(call.number("eps"));
  return [=] {
    ReleaseGil unlocked(x.size * sizeof(T));
    kernel(x.data, weight.data, bias, out, shape, eps);
  };
}

template <typename T>
auto bind_layer_norm_backward(Call& call, layer_norm_backward_fn<T>* kernel) {
  const auto x = call.input<T>(1), weight = call.input<T>(4);
  const RowShape shape = read_rows(call, x, weight);
  const LayerNormGradientInputs<T> inputs{read_sized<T>(call, 0, x.size), x.data, read_sized<T>(call, 2, shape.rows),
                                          read_sized<T>(call, 3, shape.rows), weight.data};
  const LayerNormGradients<T> out{write_sized<T>(call, 0, x.size), write_sized<T>(call, 1, shape.size),
                                  write_sized<T>(call, 2, shape.size)};
  return [=] {
    ReleaseGil unlocked(x.size * sizeof(T));
    kernel(inputs, out, shape);
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY layer_norm
#define DTRAIN_KERNELS "layer_norm/kernels.inc"
#include "binding/rows.h"
