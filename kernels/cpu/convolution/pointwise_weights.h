// The gradient of the weights of a kernel of one pixel: a product that sums over the pixels of all images.
//
//   sums[row][column] = Σ_p rows[p] · columns[p]
//
// Rows and columns are channels of dy and x; columns are those of which there are fewer, since theirs come into blocks of 16
// channels, while those of rows are only copied into tiles. 64 pixels at a time are added one by one, counted over all
// images, and their sums one by one again: the error of a sum grows with a 64th of the pixels.
#pragma once

#include "convolution/pointwise.h"

namespace dtrain {
namespace {

// `count` pixels of all columns, [block of columns][kChunk][16], and zeros up to whole blocks of pixels.
template <typename V>
void take_columns(const typename V::Element* from, const PointwiseSums& s, std::int64_t first, std::int64_t count,
                  typename V::Element* to) {
  for (std::int64_t column = 0; column < s.columns; column += kBlock, to += PointwiseSums::kChunk * kBlock) {
    const std::int64_t channels = std::min<std::int64_t>(kBlock, s.columns - column);
    for_each_image(first, count, s.pixels, s.columns, [&](std::int64_t place, std::int64_t run, std::int64_t pixel) {
      rows_to_lanes<V>(from + pixel + column * s.pixels, to + place * kBlock, s.pixels, channels, run, kBlock);
    });
    const std::int64_t whole = (count + kBlock - 1) / kBlock * kBlock;
    clear(to + count * kBlock, (whole - count) * kBlock);
  }
}

// The same pixels of the rows of a tile, [block of pixels][kRows][16].
template <typename V>
void take_rows(const typename V::Element* from, const PointwiseSums& s, std::int64_t row, int rows, std::int64_t first,
               std::int64_t count, typename V::Element* to) {
  constexpr int kRows = RegisterTile<V>::rows;
  if (count % kBlock != 0) clear(to + count / kBlock * kRows * kBlock, kRows * kBlock);
  for_each_run(first, count, s.pixels, s.rows, [&](std::int64_t place, std::int64_t run, std::int64_t pixel) {
    const typename V::Element* line = from + pixel + row * s.pixels;
    typename V::Element* lanes = to + place / kBlock * kRows * kBlock + place % kBlock;
    for (int r = 0; r < rows; ++r) copy_run<V>(line + r * s.pixels, lanes + r * kBlock, run);
  });
}

// Sums of `count` rows from `row` on, [row][padded columns], into the gradient.
template <typename V>
void write_weights(const typename V::Element* sums, const PointwiseSums& s, std::int64_t row, std::int64_t count,
                   typename V::Element* dweights) {
  const std::int64_t apart = s.padded_columns();
  if (s.rows_are_outputs) {
    for (std::int64_t r = 0; r < count; ++r) copy_run<V>(sums + r * apart, dweights + (row + r) * s.columns, s.columns);
    return;
  }
  for (std::int64_t column = 0; column < s.columns; column += kBlock) {
    const std::int64_t channels = std::min<std::int64_t>(kBlock, s.columns - column);
    lanes_to_rows<V>(sums + column, dweights + column * s.rows + row, s.rows, channels, count, apart);
  }
}

template <typename V>
void conv2d_backward_weights_pointwise(const typename V::Element* dy, const typename V::Element* x,
                                       typename V::Element* dweights, const PointwiseSums& s, Range part,
                                       typename V::Element* workspace) {
  using T = typename V::Element;
  constexpr int kRows = RegisterTile<V>::rows, kBlocks = RegisterTile<V>::blocks;
  constexpr std::int64_t kChunk = PointwiseSums::kChunk;
  const T *of_rows = s.rows_are_outputs ? dy : x, *of_columns = s.rows_are_outputs ? x : dy;
  const std::int64_t blocks = s.padded_columns() / kBlock;
  T* columns = workspace;
  T* tile_rows = columns + s.padded_columns() * kChunk;
  T* sums = tile_rows + 16 * kChunk;
  for (std::int64_t begin = part.begin; begin < part.end; begin += s.rows_together()) {
    const std::int64_t count = std::min(s.rows_together(), part.end - begin), tiles = (count + kRows - 1) / kRows;
    for (std::int64_t first = 0; first < s.batch * s.pixels; first += kChunk) {
      const std::int64_t pixels = std::min(kChunk, s.batch * s.pixels - first);
      take_columns<V>(of_columns, s, first, pixels, columns);
      for (std::int64_t tile = 0, row = 0; tile < tiles; ++tile) {
        const int rows = rows_of_tile(count, tiles, tile, row);
        take_rows<V>(of_rows, s, begin + row, rows, first, pixels, tile_rows);
        const AlongBlocks<T> a{tile_rows, kRows * kBlock, (pixels + kBlock - 1) / kBlock};
        for (std::int64_t block = 0; block < blocks; block += kBlocks) {
          multiply_blocks<V>(rows, static_cast<int>(std::min<std::int64_t>(kBlocks, blocks - block)), a,
                             columns + block * kChunk * kBlock, kChunk * kBlock,
                             sums + row * s.padded_columns() + block * kBlock, kBlock, first > 0, s.padded_columns());
        }
        row += rows;
      }
    }
    write_weights<V>(sums, s, begin, count, dweights);
  }
}

}  // namespace
}  // namespace dtrain
