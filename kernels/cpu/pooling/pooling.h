// Max, average and adaptive pooling over planes.
//
// Shapes: x, dx [planes][height][width]; y, dy, indices [planes][out_height][out_width], planes = N·C. Indices are
// positions in the input plane, h·width + w; the first of equal maxima wins, a NaN wins over every number.
#pragma once

#include <cstdint>

namespace dtrain {

struct PoolingShape {
  std::int64_t planes, height, width, out_height, out_width;
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;  // adaptive pooling does not read these
  bool count_include_pad;
};

// Where max_pool2d lays the rows of x that a row of outputs and the next one see: `count`, a power of two, has room for them,
// each of `phases` pieces of `pitch` numbers. Loads of the widest vector stay in them.
struct PoolingRows {
  std::int64_t count, phases, pitch;
};

namespace {

// kernels/cpu_rows.py says the same.
inline PoolingRows rows_of(const PoolingShape& shape) {
  const std::int64_t phases = shape.stride_w < shape.kernel_w ? shape.stride_w : shape.kernel_w;
  std::int64_t count = 1;
  while (count < shape.kernel_h + shape.stride_h) count *= 2;
  return {count, phases, shape.out_width + (shape.kernel_w - 1) / shape.stride_w + 16};
}

}  // namespace

template <typename T>
using max_pool2d_fn = void(const T* x, T* y, std::int32_t* indices, const PoolingShape& shape, T* rows);

template <typename T>
using adaptive_max_pool2d_fn = void(const T* x, T* y, std::int32_t* indices, const PoolingShape& shape);

// dx[index] += dy, dx zeroed first; indices lie in the plane.
template <typename T>
using max_pool2d_backward_fn = void(const T* dy, const std::int32_t* indices, T* dx, const PoolingShape& shape);

template <typename T>
using avg_pool2d_fn = void(const T* x, T* y, const PoolingShape& shape);

template <typename T>
using avg_pool2d_backward_fn = void(const T* dy, T* dx, const PoolingShape& shape);

template <typename T>
using adaptive_avg_pool2d_fn = void(const T* x, T* y, const PoolingShape& shape);

template <typename T>
using adaptive_avg_pool2d_backward_fn = void(const T* dy, T* dx, const PoolingShape& shape);

}  // namespace dtrain
