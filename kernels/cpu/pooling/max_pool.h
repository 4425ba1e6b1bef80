// Max pooling in windows: vectors over neighbouring outputs of a row.
#pragma once

#include <limits>

#include "pooling/cells.h"
#include "simd/clear.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

// The maximum of a cell of a plane: the first of equal ones, or the first NaN.
template <typename T>
inline void max_of_cell(const T* plane, std::int64_t width, const Cell& cell, T* y, std::int32_t* index) {
  std::int64_t best_index = cell.top * width + cell.left;
  T best = plane[best_index];
  for (std::int64_t h = cell.top; h < cell.bottom; ++h) {
    for (std::int64_t w = cell.left; w < cell.right; ++w) {
      const T value = plane[h * width + w];
      // The second test lets the first NaN in, and nothing after it. No branches: maxima are hard to predict.
      const bool is_better = (value > best) | ((value != value) & (best == best));
      best = is_better ? value : best;
      best_index = is_better ? h * width + w : best_index;
    }
  }
  *y = best;
  *index = static_cast<std::int32_t>(best_index);
}

// A vector from `begin` on, of what lies before `end`.
template <typename V>
inline V load_up_to(const typename V::Element* from, std::int64_t begin, std::int64_t end, typename V::Element fill) {
  if (begin + V::width <= end) return V::load(from + begin);
  return begin < end ? V::load_partial(from + begin, static_cast<int>(end - begin), fill) : V(fill);
}

// The columns of an input row that windows see, dealt out by the stride: column c stands on phase (c + pad) % stride, so
// that what neighbouring outputs compare lies side by side. What stands behind the last column is −∞, as padding is. Says
// whether there is a NaN among them.
template <typename V>
inline bool place_row(const typename V::Element* line, typename V::Element* row, const PoolingShape& shape,
                      const PoolingRows& rows) {
  using T = typename V::Element;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  const std::int64_t seen =
      at_most((shape.out_width - 1) * shape.stride_w + shape.kernel_w - shape.pad_w, shape.width);
  bool has_nan = false;
  if (shape.stride_w == 1) {
    for_each_vector<V>(seen, [&](std::int64_t c, auto lane) {
      const V numbers = lane.load(line + c, lowest);
      has_nan |= numbers.any_nan();
      numbers.store(row + shape.pad_w + c);
    });
  } else if (shape.stride_w == 2 && rows.phases == 2) {
    T* even = row + shape.pad_w % 2 * rows.pitch + shape.pad_w / 2;
    T* odd = row + (shape.pad_w + 1) % 2 * rows.pitch + (shape.pad_w + 1) / 2;
    for_each_vector<V>((seen + 1) / 2, [&](std::int64_t pair, auto) {
      V first = load_up_to<V>(line, 2 * pair, seen, lowest), second = load_up_to<V>(line, 2 * pair + V::width, seen, lowest);
      has_nan |= first.any_nan() | second.any_nan();
      V::deal_out(first, second);
      first.store(even + pair);
      second.store(odd + pair);
    });
  } else {
    for (std::int64_t phase = 0; phase < rows.phases; ++phase) {
      std::int64_t column = phase - shape.pad_w;
      for (T* to = row + phase * rows.pitch; column < seen; column += shape.stride_w, ++to) {
        if (column < 0) continue;
        has_nan |= line[column] != line[column];
        *to = line[column];
      }
    }
  }
  return has_nan;
}

// One row of outputs from the rows of its windows, which stand in `room`: row h at h & (rows.count − 1). In row-major order, so
// that the first of equal maxima comes first and stays. Places are kept as what they are beyond the column where a
// window begins, which is another one in each lane. No number is NaN. Sizes that the compiler knows unroll the loop; 0 is
// any.
template <int KERNEL_W, int STRIDE_W, typename V>
inline void maxima_of_row(const typename V::Element* room, const Cell& window, const PoolingShape& shape,
                          const PoolingRows& rows, typename V::Element* y, std::int32_t* indices) {
  using T = typename V::Element;
  using Places = typename V::Places;
  const std::int64_t kernel_w = KERNEL_W > 0 ? KERNEL_W : shape.kernel_w;
  const std::int64_t stride_w = STRIDE_W > 0 ? STRIDE_W : shape.stride_w;
  const Places apart = V::lane_numbers() * static_cast<std::int32_t>(stride_w);
  for_each_vector<V>(shape.out_width, [&](std::int64_t w, auto lane) {
    const Places begin = apart + static_cast<std::int32_t>(w * stride_w - shape.pad_w);
    // What is nowhere above −∞ has its maximum at its first input.
    V best(-std::numeric_limits<T>::infinity());
    Places places = static_cast<std::int32_t>(window.top * shape.width) + (begin < 0 ? -begin : begin - begin);
    for (std::int64_t h = window.top; h < window.bottom; ++h) {
      const T* row = room + (h & (rows.count - 1)) * rows.phases * rows.pitch + w;
      std::int64_t phase = 0;
#pragma GCC unroll 3
      for (std::int64_t j = 0; j < kernel_w; ++j) {
        const auto place = static_cast<std::int32_t>(h * shape.width + j);
        take_larger(V::load(row + phase * rows.pitch), place, best, places);
        if (++phase == stride_w) phase = 0, ++row;
      }
    }
    lane.store(best, y + w);
    lane.store_places(places + begin, indices + w);
  });
}

// The same for vectors of one lane, position by position: compilers make vectors of loops over outputs, of one choice
// each, and of choices one by one they make branches, which nobody can predict.
template <typename V>
inline void maxima_by_positions(const typename V::Element* room, const Cell& window, const PoolingShape& shape,
                                const PoolingRows& rows, typename V::Element* y, std::int32_t* indices) {
  using T = typename V::Element;
  const auto width = static_cast<std::int32_t>(shape.width), apart = static_cast<std::int32_t>(shape.stride_w);
  const auto before = static_cast<std::int32_t>(shape.pad_w), top = static_cast<std::int32_t>(window.top);
  const auto outputs = static_cast<std::int32_t>(shape.out_width);
  for (std::int32_t w = 0; w < outputs; ++w) {
    y[w] = -std::numeric_limits<T>::infinity();
    indices[w] = top * width + (w * apart > before ? w * apart - before : 0);
  }
  for (std::int64_t h = window.top; h < window.bottom; ++h) {
    const T* row = room + (h & (rows.count - 1)) * rows.phases * rows.pitch;
    for (std::int64_t j = 0; j < shape.kernel_w; ++j) {
      const T* from = row + j % shape.stride_w * rows.pitch + j / shape.stride_w;
      const std::int32_t place = static_cast<std::int32_t>(h) * width + static_cast<std::int32_t>(j) - before;
      for (std::int32_t w = 0; w < outputs; ++w) indices[w] = from[w] > y[w] ? place + w * apart : indices[w];
      for (std::int32_t w = 0; w < outputs; ++w) y[w] = from[w] > y[w] ? from[w] : y[w];
    }
  }
}

template <typename V>
using MaximaOfRow = void (*)(const typename V::Element*, const Cell&, const PoolingShape&, const PoolingRows&,
                             typename V::Element*, std::int32_t*);

template <typename V>
inline MaximaOfRow<V> maxima_for(const PoolingShape& shape) {
  if constexpr (V::width == 1) {
    return maxima_by_positions<V>;
  } else {
    if (shape.kernel_w == 3 && shape.stride_w == 2) return maxima_of_row<3, 2, V>;
    if (shape.kernel_w == 2 && shape.stride_w == 2) return maxima_of_row<2, 2, V>;
    return maxima_of_row<0, 0, V>;
  }
}

// Padding is −∞, which is never better than what a window begins with. Rows stay in `room` as long as windows see them, and
// are placed while those of the row before are compared: what has just been stored is slow to load in other pieces.
template <typename V>
void max_pool2d(const typename V::Element* x, typename V::Element* y, std::int32_t* indices, const PoolingShape& shape,
                typename V::Element* room) {
  using T = typename V::Element;
  const PoolingRows rows = rows_of(shape);
  const std::int64_t row = rows.phases * rows.pitch;
  const MaximaOfRow<V> maxima = maxima_for<V>(shape);
  for (std::int64_t i = 0; i < rows.count * row; ++i) room[i] = -std::numeric_limits<T>::infinity();
  for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
    std::int64_t placed = 0, last_nan = -1;  // rows
    const auto place_window = [&](const Cell& window) {
      for (placed = placed < window.top ? window.top : placed; placed < window.bottom; ++placed) {
        if (place_row<V>(x + placed * shape.width, room + (placed & (rows.count - 1)) * row, shape, rows)) last_nan = placed;
      }
    };
    place_window(window_cell(shape, 0, 0));
    for (std::int64_t h = 0; h < shape.out_height; ++h) {
      if (h + 1 < shape.out_height) place_window(window_cell(shape, h + 1, 0));
      const Cell window = window_cell(shape, h, 0);
      if (last_nan < window.top) {
        maxima(room, window, shape, rows, y, indices);
      } else {
        for (std::int64_t w = 0; w < shape.out_width; ++w) {
          max_of_cell(x, shape.width, window_cell(shape, h, w), y + w, indices + w);
        }
      }
      y += shape.out_width;
      indices += shape.out_width;
    }
    x += shape.height * shape.width;
  }
}

template <typename V>
void adaptive_max_pool2d(const typename V::Element* x, typename V::Element* y, std::int32_t* indices,
                         const PoolingShape& shape) {
  for_each_cell<adaptive_cell>(shape, [&](std::int64_t plane, std::int64_t output, const Cell& cell) {
    max_of_cell(x + plane * shape.height * shape.width, shape.width, cell, y + output, indices + output);
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
