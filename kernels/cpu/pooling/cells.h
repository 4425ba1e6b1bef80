// What an output of pooling sees of its plane.
#pragma once

#include "pooling/pooling.h"

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

}  // namespace
}  // namespace dtrain
