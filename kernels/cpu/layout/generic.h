// Transposes of [channels of one block][pixels] and [pixels][lanes], in squares of registers.
#pragma once

#include "layout/layout.h"

namespace dtrain {
namespace {

// row_at(c)[r] = from[r][c] of `rows` × `columns` numbers. Rows that are written are filled with zeros up to `filled` ≥
// `rows` numbers.
template <typename V, typename RowAt>
void transpose_to(const typename V::Element* from, std::int64_t from_apart, std::int64_t rows, std::int64_t columns,
                  const RowAt& row_at, std::int64_t filled) {
  for (std::int64_t r = 0; r < filled; r += V::width) {
    const std::int64_t height = rows - r < V::width ? rows - r : V::width;
    const bool is_full = filled - r >= V::width;
    for (std::int64_t c = 0; c < columns; c += V::width) {
      const std::int64_t width = columns - c < V::width ? columns - c : V::width;
      V square[V::width];
      if (height == V::width && width == V::width) {
#pragma GCC unroll 16
        for (int i = 0; i < V::width; ++i) square[i] = V::load(from + (r + i) * from_apart + c);
      } else {
        for (int i = 0; i < V::width; ++i) {
          square[i] = i >= height        ? V::zero()
                      : width < V::width ? V::load_partial(from + (r + i) * from_apart + c, static_cast<int>(width))
                                         : V::load(from + (r + i) * from_apart + c);
        }
      }
      V::transpose(square);
      if (is_full && width == V::width) {
#pragma GCC unroll 16
        for (int i = 0; i < V::width; ++i) square[i].store(row_at(c + i) + r);
      } else if (is_full) {
        for (int i = 0; i < width; ++i) square[i].store(row_at(c + i) + r);
      } else {
        for (int i = 0; i < width; ++i) square[i].store_partial(row_at(c + i) + r, static_cast<int>(filled - r));
      }
    }
  }
}

// to[c][r] = from[r][c]: the same with rows `to_apart`.
template <typename V>
void transpose(const typename V::Element* from, std::int64_t from_apart, std::int64_t rows, std::int64_t columns,
               typename V::Element* to, std::int64_t to_apart, std::int64_t filled) {
  transpose_to<V>(from, from_apart, rows, columns, [=](std::int64_t column) { return to + column * to_apart; }, filled);
}

// `pixels` of `channels` rows that lie `apart` into lanes of a block, zeros in the missing ones.
template <typename V>
void rows_to_lanes(const typename V::Element* rows, typename V::Element* lanes, std::int64_t apart, std::int64_t channels,
                   std::int64_t pixels, std::int64_t block) {
  transpose<V>(rows, apart, channels, pixels, lanes, block, block);
}

// The other way.
template <typename V>
void lanes_to_rows(const typename V::Element* lanes, typename V::Element* rows, std::int64_t apart, std::int64_t channels,
                   std::int64_t pixels, std::int64_t block) {
  transpose<V>(lanes, block, pixels, channels, rows, apart, pixels);
}

template <typename V>
void relayout(const typename V::Element* from, typename V::Element* to, const LayoutShape& shape) {
  const std::int64_t blocks = (shape.channels + shape.block - 1) / shape.block;
  for (std::int64_t image = 0; image < shape.batch; ++image) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t first = b * shape.block;
      const std::int64_t channels = shape.channels - first < shape.block ? shape.channels - first : shape.block;
      const std::int64_t rows = (image * shape.channels + first) * shape.pixels;
      const std::int64_t lanes = (image * blocks + b) * shape.pixels * shape.block;
      if (shape.to_blocks) {
        rows_to_lanes<V>(from + rows, to + lanes, shape.pixels, channels, shape.pixels, shape.block);
      } else {
        lanes_to_rows<V>(from + lanes, to + rows, shape.pixels, channels, shape.pixels, shape.block);
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
