// Transposes of [channels of one block][pixels] and [pixels][lanes], a few pixels at a time.
//
// On the side of x a row of a tile is contiguous, and the whole of a tile on the blocked side stays in the first cache:
// 16 pixels of 16 lanes are 1 KiB.
#pragma once

#include "layout/layout.h"

namespace dtrain {
namespace {

constexpr std::int64_t kTilePixels = 16;

template <typename T>
void tile_to_lanes(const T* x, T* lanes, std::int64_t pixels, std::int64_t channels, std::int64_t count,
                   std::int64_t block) {
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t p = 0; p < count; ++p) lanes[p * block + c] = x[c * pixels + p];
  }
  for (std::int64_t c = channels; c < block; ++c) {
    for (std::int64_t p = 0; p < count; ++p) lanes[p * block + c] = T(0);
  }
}

template <typename T>
void tile_to_rows(const T* lanes, T* x, std::int64_t pixels, std::int64_t channels, std::int64_t count,
                  std::int64_t block) {
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t p = 0; p < count; ++p) x[c * pixels + p] = lanes[p * block + c];
  }
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
      for (std::int64_t p = 0; p < shape.pixels; p += kTilePixels) {
        const std::int64_t count = shape.pixels - p < kTilePixels ? shape.pixels - p : kTilePixels;
        if (shape.to_blocks) {
          tile_to_lanes(from + rows + p, to + lanes + p * shape.block, shape.pixels, channels, count, shape.block);
        } else {
          tile_to_rows(from + lanes + p * shape.block, to + rows + p, shape.pixels, channels, count, shape.block);
        }
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
