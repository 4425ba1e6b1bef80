#include "layer_norm/layer_norm.h"
#include <algorithm>

#include "binding/share.h"
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
    const std::int64_t bytes = x.size * sizeof(T);
    ReleaseGil unlocked(bytes);
    share(shape.rows, 2 * bytes, [&](Range rows, std::int64_t) {
      const std::int64_t first = rows.begin * shape.size;
      kernel(x.data + first, weight.data, bias, {out.y + first, out.mean + rows.begin, out.inverse_std + rows.begin},
             {rows.end - rows.begin, shape.size}, eps);
    });
  };
}

// Rows of which a sum over rows is made of its own, so that threads can share them: how many such groups there are depends
// on the rows alone. kernels/cpu_rows.py says the same.
std::int64_t groups_of_rows(std::int64_t rows) { return std::min<std::int64_t>(16, (rows + 63) / 64); }

// The call of the backward kernel, group by group of rows, each with its sums in `sums`; those are added in order.
template <typename T>
auto backward_in_groups(layer_norm_backward_fn<T>* kernel, const LayerNormGradientInputs<T>& inputs,
                        const LayerNormGradients<T>& out, const RowShape& shape, std::int64_t groups, T* sums) {
  const std::int64_t bytes = 2 * shape.rows * shape.size * static_cast<std::int64_t>(sizeof(T));
  return [=] {
    ReleaseGil unlocked(bytes);
    if (groups <= 1) {
      kernel(inputs, out, shape);
      return;
    }
    share(groups, bytes, [&](Range part, std::int64_t) {
      for (std::int64_t group = part.begin; group < part.end; ++group) {
        const std::int64_t begin = shape.rows * group / groups, end = shape.rows * (group + 1) / groups;
        const std::int64_t first = begin * shape.size;
        kernel({inputs.grad + first, inputs.x + first, inputs.mean + begin, inputs.inverse_std + begin, inputs.weight},
               {out.dx + first, sums + 2 * group * shape.size, sums + (2 * group + 1) * shape.size},
               {end - begin, shape.size});
      }
    });
    for (std::int64_t i = 0; i < shape.size; ++i) out.dweight[i] = sums[i], out.dbias[i] = sums[shape.size + i];
    for (std::int64_t group = 1; group < groups; ++group) {
      const T* of_group = sums + 2 * group * shape.size;
      for (std::int64_t i = 0; i < shape.size; ++i) {
        out.dweight[i] += of_group[i];
        out.dbias[i] += of_group[shape.size + i];
      }
    }
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
  const std::int64_t groups = groups_of_rows(shape.rows);
  return backward_in_groups(kernel, inputs, out, shape, groups,
                            groups > 1 ? call.workspace<T>(2 * groups * shape.size) : nullptr);
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY layer_norm
#define DTRAIN_KERNELS "layer_norm/kernels.inc"
#include "binding/rows.h"
