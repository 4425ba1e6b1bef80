// Max pooling in windows: vectors over neighbouring outputs of a row.
#pragma once

#include <limits>

#include "pooling/cells.h"
#include "simd/clear.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

// Columns of an input row, dealt out by the stride: column c stands on phase (c + pad) % stride, so that what neighbouring
// outputs compare lies side by side. A count of phases that the compiler knows makes vectors of it; 0 is any.
template <int STRIDE, typename T>
inline void deal_out_row(const T* line, T* row, const PoolingShape& shape, const PoolingRows& rows) {
  const std::int64_t stride = STRIDE > 0 ? STRIDE : shape.stride_w;
  for (std::int64_t phase = 0; phase < rows.phases; ++phase) {
    // Columns phase − pad, that + stride, …: those before the row are padding.
    const std::int64_t behind = at_least_zero(shape.pad_w - phase + stride - 1) / stride;
    const T* from = line + phase - shape.pad_w + behind * stride;
    const std::int64_t left = shape.width + shape.pad_w - phase - behind * stride;
    const std::int64_t count = at_most((left + stride - 1) / stride, rows.pitch - behind);
    T* to = row + phase * rows.pitch + behind;
    for (std::int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
  }
}

template <typename T>
inline void place_row(const T* line, T* row, const PoolingShape& shape, const PoolingRows& rows) {
  switch (shape.stride_w) {
    case 1: return deal_out_row<1>(line, row, shape, rows);
    case 2: return deal_out_row<2>(line, row, shape, rows);
    default: return deal_out_row<0>(line, row, shape, rows);
  }
}

// One row of outputs from the rows of its windows, which stand in `room`: row h at h % kernel_h. In row-major order, so
// that the first of equal maxima comes first and stays. Places are kept as what they are beyond the column where a
// window begins, which is another one in each lane.
template <typename V>
inline void maxima_of_row(const typename V::Element* room, const Cell& window, const PoolingShape& shape,
                          const PoolingRows& rows, typename V::Element* y, std::int32_t* indices) {
  using T = typename V::Element;
  using Places = typename V::Places;
  const std::int64_t first_slot = window.top % shape.kernel_h;
  const Places apart = V::lane_numbers() * static_cast<std::int32_t>(shape.stride_w);
  for_each_vector<V>(shape.out_width, [&](std::int64_t w, auto lane) {
    const Places begin = apart + static_cast<std::int32_t>(w * shape.stride_w - shape.pad_w);
    // What is nowhere above −∞ has its maximum at its first input.
    V best(-std::numeric_limits<T>::infinity());
    Places places = static_cast<std::int32_t>(window.top * shape.width) + (begin < 0 ? -begin : begin - begin);
    std::int64_t slot = first_slot;
    for (std::int64_t h = window.top; h < window.bottom; ++h) {
      const T* row = room + slot * rows.phases * rows.pitch + w;
      if (++slot == shape.kernel_h) slot = 0;
      std::int64_t phase = 0;
      for (std::int64_t j = 0; j < shape.kernel_w; ++j) {
        const auto place = static_cast<std::int32_t>(h * shape.width + j);
        take_better(V::load(row + phase * rows.pitch), place, best, places);
        if (++phase == shape.stride_w) phase = 0, ++row;
      }
    }
    lane.store(best, y + w);
    lane.store_places(places + begin, indices + w);
  });
}

// Padding is −∞, which is never better than what a window begins with. Rows stay in `room` as long as windows see them.
template <typename V>
void max_pool2d(const typename V::Element* x, typename V::Element* y, std::int32_t* indices, const PoolingShape& shape,
                typename V::Element* room) {
  using T = typename V::Element;
  const PoolingRows rows = rows_of(shape);
  const std::int64_t row = rows.phases * rows.pitch;
  for (std::int64_t i = 0; i < shape.kernel_h * row; ++i) room[i] = -std::numeric_limits<T>::infinity();
  for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
    std::int64_t placed = 0;
    for (std::int64_t h = 0; h < shape.out_height; ++h) {
      const Cell window = window_cell(shape, h, 0);
      for (placed = placed < window.top ? window.top : placed; placed < window.bottom; ++placed) {
        place_row(x + placed * shape.width, room + placed % shape.kernel_h * row, shape, rows);
      }
      maxima_of_row<V>(room, window, shape, rows, y, indices);
      y += shape.out_width;
      indices += shape.out_width;
    }
    x += shape.height * shape.width;
  }
}

template <typename V>
void adaptive_max_pool2d(const typename V::Element* x, typename V::Element* y, std::int32_t* indices,
                         const PoolingShape& shape) {
  using T = typename V::Element;
  for_each_cell<adaptive_cell>(shape, [&](std::int64_t plane, std::int64_t output, const Cell& cell) {
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

// Plane by plane: what is cleared is still near when it is added to.
template <typename V>
void max_pool2d_backward(const typename V::Element* dy, const std::int32_t* indices, typename V::Element* dx,
                         const PoolingShape& shape) {
  const std::int64_t inputs = shape.height * shape.width, outputs = shape.out_height * shape.out_width;
  for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
    clear(dx, inputs);
    for (std::int64_t i = 0; i < outputs; ++i) dx[indices[i]] += dy[i];
    dy += outputs, indices += outputs, dx += inputs;
  }
}

}  // namespace
}  // namespace dtrain
