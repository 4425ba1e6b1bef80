#include "reduction/reduction.h"

#include <array>
#include <vector>

#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

std::int64_t divided_up(std::int64_t count, std::int64_t most) { return (count + most - 1) / most; }

// A set of axes: of the first one the lowest bit.
using Axes = std::uint64_t;

// Those that `axis` names.
template <typename T>
Axes named_axes(Call& call, const Array<const T>& x) {
  Axes found = 0;
  for (const std::int64_t axis : call.integer_list("axis")) {
    call.expect(-x.ndim <= axis && axis < x.ndim, "axes of the input");
    found |= Axes(1) << (axis < 0 ? axis + x.ndim : axis);
  }
  return found;
}

// Those along which `shape` is broadcast to the shape of x.
template <typename T>
Axes broadcast_axes(Call& call, const Array<const T>& x) {
  const std::vector<std::int64_t> shape = call.integer_list("shape");
  const int missing = x.ndim - static_cast<int>(shape.size());
  call.expect(missing >= 0, "a shape that broadcasts to that of the input");
  Axes found = 0;
  for (int axis = 0; axis < x.ndim; ++axis) {
    const std::int64_t size = axis < missing ? 1 : shape[static_cast<std::size_t>(axis - missing)];
    call.expect(size == 1 || size == x.shape[axis], "a shape that broadcasts to that of the input");
    if (size != x.shape[axis]) found |= Axes(1) << axis;
  }
  return found;
}

// The sizes of runs of neighbouring axes that are reduced or kept by turns, the last run first. The last is reduced if
// `is_reduced` says so; a run that is not there has the size 1, and axes of that size are in any run.
template <typename T>
std::array<std::int64_t, 3> read_runs(Call& call, const Array<const T>& x, Axes axes, bool is_reduced) {
  std::array<std::int64_t, 3> sizes{1, 1, 1};
  std::size_t run = 0;
  for (int axis = x.ndim - 1; axis >= 0; --axis) {
    if (x.shape[axis] == 1) continue;
    if ((axes >> axis & 1) != is_reduced) ++run, is_reduced = !is_reduced;
    call.expect(run < sizes.size(), "axes in at most three runs, reduced and kept by turns");
    sizes[run] *= x.shape[axis];
  }
  return sizes;
}

// out [outer][inner] = Σ over groups / divisor of sums [outer][groups][inner], which are written over. They are added in
// pairs, and those sums again.
template <typename T>
void add_groups(T* sums, std::int64_t outer, std::int64_t groups, std::int64_t inner, T divisor, T* out) {
  for (std::int64_t i = 0; i < outer; ++i, sums += groups * inner, out += inner) {
    for (std::int64_t apart = 1; apart < groups; apart *= 2) {
      for (std::int64_t group = 0; group + apart < groups; group += 2 * apart) {
        T* to = sums + group * inner;
        const T* from = to + apart * inner;
        for (std::int64_t j = 0; j < inner; ++j) to[j] += from[j];
      }
    }
    for (std::int64_t j = 0; j < inner; ++j) out[j] = sums[j] / divisor;
  }
}

// The call of a kernel in `units`: sums of groups, which are added behind it where there are several, [outer][group][inner].
template <typename T, typename Kernel, typename Shape>
auto sum_in_groups(Call& call, Kernel* kernel, const Array<const T>& x, const Array<T>& out, const Shape& shape,
                   std::int64_t units, std::int64_t outer, std::int64_t inner, T divisor) {
  T* sums = shape.groups > 1 ? call.workspace<T>(outer * inner * shape.groups) : out.data;
  return [=] {
    const std::int64_t bytes = x.size * sizeof(T);
    ReleaseGil unlocked(bytes);
    share(units, bytes, [&](Range cut, std::int64_t) {
      Shape part = shape;
      part.part = cut;
      kernel(x.data, sums, shape.groups > 1 ? T(1) : divisor, part);
    });
    if (shape.groups > 1) add_groups<T>(sums, outer, shape.groups, inner, divisor, out.data);
  };
}

template <typename T>
auto bind_last_axes(Call& call, sum_fn<T>* kernel, const Array<const T>& x, Axes axes, bool is_mean) {
  const auto out = call.output<T>();
  const auto [spatial, channels, images] = read_runs(call, x, axes, true);
  call.expect(x.size > 0 && out.size == channels, "elements to add up, and an output for each sum");
  const SumShape shape{images, channels, spatial, divided_up(images * spatial, kElementsOfGroup), {}};
  const T divisor = is_mean ? static_cast<T>(images * spatial) : T(1);
  return sum_in_groups<T>(call, kernel, x, out, shape, channels * shape.groups, channels, 1, divisor);
}

template <typename T>
auto bind_sum(Call& call, sum_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  return bind_last_axes<T>(call, kernel, x, named_axes(call, x), false);
}

template <typename T>
auto bind_mean(Call& call, mean_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  return bind_last_axes<T>(call, kernel, x, named_axes(call, x), true);
}

template <typename T>
auto bind_sum_to_shape(Call& call, sum_to_shape_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  return bind_last_axes<T>(call, kernel, x, broadcast_axes(call, x), false);
}

template <typename T>
auto bind_columns(Call& call, sum_columns_fn<T>* kernel, const Array<const T>& x, Axes axes, bool is_mean) {
  const auto out = call.output<T>();
  const auto [inner, rows, outer] = read_runs(call, x, axes, false);
  call.expect(x.size > 0 && out.size == outer * inner, "elements to add up, and an output for each sum");
  const ColumnSumShape shape{
      outer, rows, inner, divided_up(rows, kRowsOfGroup), divided_up(inner, kColumnsOfPanel), {}};
  const T divisor = is_mean ? static_cast<T>(rows) : T(1);
  return sum_in_groups<T>(call, kernel, x, out, shape, outer * shape.groups * shape.panels, outer, inner, divisor);
}

template <typename T>
auto bind_sum_columns(Call& call, sum_columns_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  return bind_columns<T>(call, kernel, x, named_axes(call, x), false);
}

template <typename T>
auto bind_mean_columns(Call& call, mean_columns_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  return bind_columns<T>(call, kernel, x, named_axes(call, x), true);
}

template <typename T>
auto bind_sum_to_shape_columns(Call& call, sum_to_shape_columns_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  return bind_columns<T>(call, kernel, x, broadcast_axes(call, x), false);
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_FAMILY reduction
#define DTRAIN_KERNELS "reduction/kernels.inc"
#include "binding/rows.h"
