// Pooling over a vector type. Windows are narrow, so only rows of adaptive cells are worth vectors.
#pragma once

#include "pooling/pooling.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

struct Cell {
  std::int64_t top, bottom, left, right;
  std::int64_t area() const { return (bottom - top) * (right - left); }
};

inline std::int64_t at_least_zero(std::int64_t value) { return value > 0 ? value : 0; }
inline std::int64_t at_most(std::int64_t value, std::int64_t limit) { return value < limit ? value : limit; }

// The inputs of output (h, w), clipped to the plane.
inline Cell window_cell(const PoolingShape& shape, std::int64_t h, std::int64_t w) {
  const std::int64_t top = h * shape.stride_h - shape.pad_h, left = w * shape.stride_w - shape.pad_w;
  return {at_least_zero(top), at_most(top + shape.kernel_h, shape.height), at_least_zero(left),
          at_most(left + shape.kernel_w, shape.width)};
}

inline Cell adaptive_cell(const PoolingShape& shape, std::int64_t h, std::int64_t w) {
  return {h * shape.height / shape.out_height, ((h + 1) * shape.height + shape.out_height - 1) / shape.out_height,
          w * shape.width / shape.out_width, ((w + 1) * shape.width + shape.out_width - 1) / shape.out_width};
}

using CellOf = Cell (*)(const PoolingShape&, std::int64_t, std::int64_t);

// body(plane, output index, cell) for every output of every plane.
template <CellOf cell_of, typename Body>
inline void for_each_cell(const PoolingShape& shape, Body body) {
  std::int64_t output = 0;
  for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
    for (std::int64_t h = 0; h < shape.out_height; ++h) {
      for (std::int64_t w = 0; w < shape.out_width; ++w) body(plane, output++, cell_of(shape, h, w));
    }
  }
}

template <typename T>
inline void zero_planes(T* to, const PoolingShape& shape) {
  const std::int64_t size = shape.planes * shape.height * shape.width;
  for (std::int64_t i = 0; i < size; ++i) to[i] = T(0);
}

template <CellOf cell_of, typename T>
void max_over_cells(const T* x, T* y, std::int32_t* indices, const PoolingShape& shape) {
  for_each_cell<cell_of>(shape, [&](std::int64_t plane, std::int64_t output, const Cell& cell) {
    const T* from = x + plane * shape.height * shape.width;
    std::int64_t best_index = cell.top * shape.width + cell.left;
    T best = from[best_index];
    for (std::int64_t h = cell.top; h < cell.bottom; ++h) {
      for (std::int64_t w = cell.left; w < cell.right; ++w) {
        const T value = from[h * shape.width + w];
        // The second test lets the first NaN in, and nothing after it. No branches: maxima are hard to predict.
        const bool is_better = (value > best) | ((value != value) & (best == best));
        best = is_better ? value : best;
        best_index = is_better ? h * shape.width + w : best_index;
      }
    }
    y[output] = best;
    indices[output] = static_cast<std::int32_t>(best_index);
  });
}

struct Interval {
  std::int64_t begin, end;
};

// The outputs o in [0, outputs) for which o·stride + offset lies in [0, inputs).
inline Interval outputs_on_input(std::int64_t outputs, std::int64_t inputs, std::int64_t stride, std::int64_t offset) {
  const std::int64_t begin = offset >= 0 ? 0 : (stride - 1 - offset) / stride;
  const std::int64_t end = offset >= inputs ? 0 : (inputs - 1 - offset) / stride + 1;
  return {begin, at_most(end, outputs)};
}

// One kernel position over a row of outputs. Without branches, because maxima are hard to predict.
template <typename T>
inline void take_better(const T* from, std::int64_t stride, std::int32_t from_index, T* best, std::int32_t* indices,
                        std::int64_t count) {
  for (std::int64_t k = 0; k < count; ++k) {
    const T value = from[k * stride];
    // The first value always; then what is larger, and the first NaN, and nothing after it.
    const bool is_better = (indices[k] < 0) | (value > best[k]) | ((value != value) & (best[k] == best[k]));
    best[k] = is_better ? value : best[k];
    indices[k] = is_better ? from_index + static_cast<std::int32_t>(k * stride) : indices[k];
  }
}

// body(first input, first output, count) for each kernel position over output row h, in row-major order. Inputs are
// positions in their plane, stride_w apart; outputs are columns of the row.
template <typename Body>
inline void for_each_position(const PoolingShape& shape, std::int64_t h, Body body) {
  const Cell rows = window_cell(shape, h, 0);
  for (std::int64_t row = rows.top; row < rows.bottom; ++row) {
    for (std::int64_t j = 0; j < shape.kernel_w; ++j) {
      const std::int64_t offset = j - shape.pad_w;
      const Interval valid = outputs_on_input(shape.out_width, shape.width, shape.stride_w, offset);
      if (valid.begin >= valid.end) continue;
      body(row * shape.width + valid.begin * shape.stride_w + offset, valid.begin, valid.end - valid.begin);
    }
  }
}

// Row by row of the output: the first of equal maxima comes first and stays.
template <typename V>
void max_pool2d(const typename V::Element* x, typename V::Element* y, std::int32_t* indices,
                const PoolingShape& shape) {
  using T = typename V::Element;
  for (std::int64_t row = 0; row < shape.planes * shape.out_height; ++row) {
    const T* from = x + row / shape.out_height * shape.height * shape.width;
    for (std::int64_t w = 0; w < shape.out_width; ++w) {
      y[w] = T(0);
      indices[w] = -1;
    }
    for_each_position(shape, row % shape.out_height, [&](std::int64_t input, std::int64_t output, std::int64_t count) {
      take_better(from + input, shape.stride_w, static_cast<std::int32_t>(input), y + output, indices + output, count);
    });
    y += shape.out_width;
    indices += shape.out_width;
  }
}

template <typename V>
void adaptive_max_pool2d(const typename V::Element* x, typename V::Element* y, std::int32_t* indices,
                         const PoolingShape& shape) {
  max_over_cells<adaptive_cell>(x, y, indices, shape);
}

template <typename V>
void max_pool2d_backward(const typename V::Element* dy, const std::int32_t* indices, typename V::Element* dx,
                         const PoolingShape& shape) {
  zero_planes(dx, shape);
  const std::int64_t outputs = shape.out_height * shape.out_width;
  for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
    typename V::Element* to = dx + plane * shape.height * shape.width;
    for (std::int64_t i = plane * outputs; i < (plane + 1) * outputs; ++i) to[indices[i]] += dy[i];
  }
}

template <typename V>
inline typename V::Element cell_sum(const typename V::Element* plane, std::int64_t width, const Cell& cell) {
  V total = V::zero();
  const bool is_contiguous = cell.right - cell.left == width;
  const std::int64_t rows = is_contiguous ? 1 : cell.bottom - cell.top;
  const std::int64_t length = is_contiguous ? cell.area() : cell.right - cell.left;
  for (std::int64_t row = 0; row < rows; ++row) {
    const typename V::Element* from = plane + (cell.top + row) * width + cell.left;
    for_each_vector<V>(length, [&](std::int64_t i, auto lane) { total = total + lane.load(from + i); });
  }
  return total.sum();
}

template <typename V>
inline void add_to_cell(typename V::Element value, typename V::Element* plane, std::int64_t width, const Cell& cell) {
  const V share(value);
  for (std::int64_t row = cell.top; row < cell.bottom; ++row) {
    typename V::Element* to = plane + row * width + cell.left;
    for_each_vector<V>(cell.right - cell.left,
                       [=](std::int64_t i, auto lane) { lane.store(lane.load(to + i) + share, to + i); });
  }
}

// Sums are multiplied by this: 1 / the kernel's size, or / the inputs of the window at (h, w).
template <typename T>
inline T window_share(const PoolingShape& shape, std::int64_t h, std::int64_t w) {
  const std::int64_t size = shape.count_include_pad ? shape.kernel_h * shape.kernel_w : window_cell(shape, h, w).area();
  return T(1) / static_cast<T>(size);
}

template <typename V>
void avg_pool2d(const typename V::Element* x, typename V::Element* y, const PoolingShape& shape) {
  using T = typename V::Element;
  for (std::int64_t row = 0; row < shape.planes * shape.out_height; ++row) {
    const std::int64_t h = row % shape.out_height;
    const T* from = x + row / shape.out_height * shape.height * shape.width;
    for (std::int64_t w = 0; w < shape.out_width; ++w) y[w] = T(0);
    for_each_position(shape, h, [&](std::int64_t input, std::int64_t output, std::int64_t count) {
      for (std::int64_t k = 0; k < count; ++k) y[output + k] += from[input + k * shape.stride_w];
    });
    for (std::int64_t w = 0; w < shape.out_width; ++w) y[w] *= window_share<T>(shape, h, w);
    y += shape.out_width;
  }
}

// A window that is the whole plane.
template <typename V>
void avg_pool2d_plane(const typename V::Element* x, typename V::Element* y, const PoolingShape& shape) {
  const Cell plane{0, shape.height, 0, shape.width};
  for (std::int64_t i = 0; i < shape.planes; ++i) {
    y[i] = cell_sum<V>(x + i * plane.area(), shape.width, plane) / static_cast<typename V::Element>(plane.area());
  }
}

template <typename V>
void avg_pool2d_backward(const typename V::Element* dy, typename V::Element* dx, const PoolingShape& shape) {
  using T = typename V::Element;
  zero_planes(dx, shape);
  for (std::int64_t row = 0; row < shape.planes * shape.out_height; ++row) {
    const std::int64_t h = row % shape.out_height;
    T* to = dx + row / shape.out_height * shape.height * shape.width;
    for_each_position(shape, h, [&](std::int64_t input, std::int64_t output, std::int64_t count) {
      for (std::int64_t k = 0; k < count; ++k) {
        to[input + k * shape.stride_w] += dy[output + k] * window_share<T>(shape, h, output + k);
      }
    });
    dy += shape.out_width;
  }
}

template <typename V>
void adaptive_avg_pool2d(const typename V::Element* x, typename V::Element* y, const PoolingShape& shape) {
  using T = typename V::Element;
  for_each_cell<adaptive_cell>(shape, [&](std::int64_t plane, std::int64_t output, const Cell& cell) {
    const T sum = cell_sum<V>(x + plane * shape.height * shape.width, shape.width, cell);
    y[output] = sum / static_cast<T>(cell.area());
  });
}

template <typename V>
void adaptive_avg_pool2d_backward(const typename V::Element* dy, typename V::Element* dx,
                                      const PoolingShape& shape) {
  using T = typename V::Element;
  zero_planes(dx, shape);
  for_each_cell<adaptive_cell>(shape, [&](std::int64_t plane, std::int64_t output, const Cell& cell) {
    const T share = dy[output] / static_cast<T>(cell.area());
    add_to_cell<V>(share, dx + plane * shape.height * shape.width, shape.width, cell);
  });
}

}  // namespace
}  // namespace dtrain
