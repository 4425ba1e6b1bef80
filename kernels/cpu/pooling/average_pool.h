// Average pooling in windows and in adaptive cells. Windows are narrow, so only cells and whole planes are worth vectors.
#pragma once

#include <cstring>  // memcpy

#include "pooling/cells.h"
#include "simd/clear.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

struct Interval {
  std::int64_t begin, end;
};

// The outputs o in [0, outputs) for which o·stride + offset lies in [0, inputs).
inline Interval outputs_on_input(std::int64_t outputs, std::int64_t inputs, std::int64_t stride, std::int64_t offset) {
  const std::int64_t begin = offset >= 0 ? 0 : (stride - 1 - offset) / stride;
  const std::int64_t end = offset >= inputs ? 0 : (inputs - 1 - offset) / stride + 1;
  return {begin, at_most(end, outputs)};
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

// The sums of each SIZE numbers, a power of two, of a vector of planes.
template <int SIZE, typename V>
inline V sums_of(const typename V::Element* planes) {
  if constexpr (SIZE == 1) {
    return V::load(planes);
  } else {
    V even = sums_of<SIZE / 2, V>(planes), odd = sums_of<SIZE / 2, V>(planes + SIZE / 2 * V::width);
    V::deal_out(even, odd);
    return even + odd;
  }
}

template <int SIZE, typename V>
inline void means_of_small_planes(const typename V::Element* x, typename V::Element* y, std::int64_t planes) {
  using T = typename V::Element;
  std::int64_t first = 0;
  for (; first + V::width <= planes; first += V::width) {
    (sums_of<SIZE, V>(x + first * SIZE) / V(T(SIZE))).store(y + first);
  }
  // Each as it is in a vector, wherever a part of a call ends.
  T last[SIZE * V::width] = {}, means[V::width];
  std::memcpy(last, x + first * SIZE, static_cast<std::size_t>(planes - first) * SIZE * sizeof(T));
  (sums_of<SIZE, V>(last) / V(T(SIZE))).store(means);
  std::memcpy(y + first, means, static_cast<std::size_t>(planes - first) * sizeof(T));
}

// The mean of each plane. The lanes of as many planes as a vector has are added by one transpose.
template <typename V>
inline void means_of_planes(const typename V::Element* x, typename V::Element* y, const PoolingShape& shape) {
  using T = typename V::Element;
  const std::int64_t size = shape.height * shape.width;
  if (size == 4) return means_of_small_planes<4, V>(x, y, shape.planes);
  if (size == 16) return means_of_small_planes<16, V>(x, y, shape.planes);
  for_each_vector<V>(shape.planes, [&](std::int64_t first, auto lane) {
    V totals[V::width];
    for (int i = 0; i < V::width; ++i) {
      totals[i] = V::zero();
      if (first + i >= shape.planes) continue;
      const T* plane = x + (first + i) * size;
      for_each_vector<V>(size, [&](std::int64_t k, auto part) { totals[i] = totals[i] + part.load(plane + k); });
    }
    V::transpose(totals);
    V total = totals[0];
    for (int i = 1; i < V::width; ++i) total = total + totals[i];
    lane.store(total / V(static_cast<T>(size)), y + first);
  });
}

// A window that is the whole plane.
template <typename V>
void avg_pool2d_plane(const typename V::Element* x, typename V::Element* y, const PoolingShape& shape) {
  means_of_planes<V>(x, y, shape);
}

// Each plane full of its share. What vectors leave behind the end of a plane is written with the next ones.
template <typename V>
inline void fill_planes(const typename V::Element* dy, typename V::Element* dx, const PoolingShape& shape) {
  using T = typename V::Element;
  const std::int64_t size = shape.height * shape.width, all = shape.planes * size;
  for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
    const V share(dy[plane] / static_cast<T>(size));
    const std::int64_t begin = plane * size, end = begin + size;
    if (end + V::width <= all) {
      for (std::int64_t i = begin; i < end; i += V::width) share.store(dx + i);
    } else {
      for_each_vector<V>(size, [&](std::int64_t i, auto lane) { lane.store(share, dx + begin + i); });
    }
  }
}

template <typename V>
void avg_pool2d_backward(const typename V::Element* dy, typename V::Element* dx, const PoolingShape& shape) {
  using T = typename V::Element;
  clear(dx, shape.planes * shape.height * shape.width);
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
  if (shape.out_height == 1 && shape.out_width == 1) return means_of_planes<V>(x, y, shape);
  for_each_cell<adaptive_cell>(shape, [&](std::int64_t plane, std::int64_t output, const Cell& cell) {
    const T sum = cell_sum<V>(x + plane * shape.height * shape.width, shape.width, cell);
    y[output] = sum / static_cast<T>(cell.area());
  });
}

template <typename V>
void adaptive_avg_pool2d_backward(const typename V::Element* dy, typename V::Element* dx,
                                      const PoolingShape& shape) {
  using T = typename V::Element;
  if (shape.out_height == 1 && shape.out_width == 1) return fill_planes<V>(dy, dx, shape);
  clear(dx, shape.planes * shape.height * shape.width);
  for_each_cell<adaptive_cell>(shape, [&](std::int64_t plane, std::int64_t output, const Cell& cell) {
    const T share = dy[output] / static_cast<T>(cell.area());
    add_to_cell<V>(share, dx + plane * shape.height * shape.width, shape.width, cell);
  });
}

}  // namespace
}  // namespace dtrain
