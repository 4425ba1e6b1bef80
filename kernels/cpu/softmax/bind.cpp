#include "softmax/softmax.h"
#include "binding/share.h"
#include "binding/table.h"

namespace dtrain {
namespace {

// The length of the last axis, for kernels that run along no other.
template <typename T>
std::int64_t read_classes(Call& call, const Array<const T>& x) {
  const std::int64_t axis = call.integer("axis");
  call.expect(x.ndim > 0 && (axis == -1 || axis == x.ndim - 1), "axis to be the last one");
  return x.shape[x.ndim - 1];
}

template <typename T>
auto bind_softmax_kernel(Call& call, softmax_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const auto out = call.output<T>();
  const std::int64_t classes = read_classes(call, x);
  call.expect(x.size == out.size, "x and out of one size");
  return [=] {
    const std::int64_t bytes = out.size * sizeof(T) * 4;
    ReleaseGil unlocked(bytes);
    share(classes > 0 ? x.size / classes : 0, bytes, [&](Range rows, std::int64_t) {
      const std::int64_t first = rows.begin * classes;
      kernel(x.data + first, out.data + first, rows.end - rows.begin, classes);
    });
  };
}

template <typename T>
auto bind_softmax_kernel(Call& call, softmax_backward_fn<T>* kernel) {
  const auto grad = call.input<T>(0), y = call.input<T>(1);
  const auto out = call.output<T>();
  const std::int64_t classes = read_classes(call, y);
  call.expect(grad.size == out.size && y.size == out.size, "grad, y and out of one size");
  return [=] {
    const std::int64_t bytes = out.size * sizeof(T) * 3;
    ReleaseGil unlocked(bytes);
    share(classes > 0 ? y.size / classes : 0, bytes, [&](Range rows, std::int64_t) {
      const std::int64_t first = rows.begin * classes;
      kernel(grad.data + first, y.data + first, out.data + first, rows.end - rows.begin, classes);
    });
  };
}

// Elements of whole lines of a cache.
template <typename T>
constexpr std::int64_t in_lines(std::int64_t count) {
  constexpr std::int64_t line = kWorkspaceAlignment / static_cast<std::int64_t>(sizeof(T));
  return (count + line - 1) / line * line;
}

// run(first element, shape of the part, its room) for all parts of what stands before the axis.
template <typename T, typename Run>
void share_columns(const ColumnsShape& shape, std::int64_t bytes, const Workspaces<T>& rooms, const Run& run) {
  const auto part = [&](Range outer, std::int64_t number) {
    run(outer.begin * shape.classes * shape.inner, ColumnsShape{outer.end - outer.begin, shape.classes, shape.inner},
        rooms.of(number));
  };
  share(shape.outer, bytes, part, rooms.count);
}

ColumnsShape read_columns(Call& call, const Py_ssize_t* shape, int ndim) {
  const std::int64_t axis = call.integer("axis");
  call.expect(-ndim <= axis && axis < ndim, "an axis of the input");
  const std::int64_t along = axis < 0 ? axis + ndim : axis;
  ColumnsShape found{1, shape[along], 1};
  for (std::int64_t i = 0; i < along; ++i) found.outer *= shape[i];
  for (std::int64_t i = along + 1; i < ndim; ++i) found.inner *= shape[i];
  return found;
}

template <typename T>
auto bind_softmax_kernel(Call& call, softmax_columns_fn<T>* kernel) {
  const auto x = call.input<T>(0);
  const auto out = call.output<T>();
  const ColumnsShape shape = read_columns(call, x.shape, x.ndim);
  call.expect(x.size == out.size, "x and out of one size");
  const std::int64_t row = in_lines<T>(shape.inner);
  const Workspaces<T> rows = call.workspaces<T>(2 * row);
  return [=] {
    const std::int64_t bytes = out.size * sizeof(T) * 4;
    ReleaseGil unlocked(bytes);
    share_columns(shape, bytes, rows, [&](std::int64_t first, const ColumnsShape& part, T* room) {
      kernel(x.data + first, out.data + first, room, room + row, part);
    });
  };
}

template <typename T>
auto bind_softmax_kernel(Call& call, softmax_backward_columns_fn<T>* kernel) {
  const auto grad = call.input<T>(0), y = call.input<T>(1);
  const auto out = call.output<T>();
  const ColumnsShape shape = read_columns(call, y.shape, y.ndim);
  call.expect(grad.size == out.size && y.size == out.size, "grad, y and out of one size");
  const Workspaces<T> rows = call.workspaces<T>(in_lines<T>(shape.inner));
  return [=] {
    const std::int64_t bytes = out.size * sizeof(T) * 3;
    ReleaseGil unlocked(bytes);
    share_columns(shape, bytes, rows, [&](std::int64_t first, const ColumnsShape& part, T* room) {
      kernel(grad.data + first, y.data + first, out.data + first, room, part);
    });
  };
}

}  // namespace

}  // namespace dtrain

#define DTRAIN_READER(op) bind_softmax_kernel
#define DTRAIN_FAMILY softmax
#define DTRAIN_KERNELS "softmax/kernels.inc"
#include "binding/rows.h"
