// One image, plain and in blocks of 16 channels with zeros around it.
#pragma once

#include "layout/generic.h"
#include "simd/clear.h"

namespace dtrain {
namespace {

// Where an image stands among zeros: `above` and `left` of them before it. Columns may be dealt out: column c of the frame
// is number c / phases of phase c % phases, so that outputs a stride apart see what lies side by side.
struct Frame {
  std::int64_t channels, height, width;  // of the plain image
  std::int64_t above, left;
  std::int64_t rows, columns;  // of the blocked one; columns of a phase
  std::int64_t phases = 1;

  std::int64_t row() const { return phases * columns * kBlock; }
  std::int64_t plane() const { return rows * row(); }
  std::int64_t size() const { return (channels + kBlock - 1) / kBlock * plane(); }
};

// [C][H][W] into [C / 16][rows][phases][columns][16], zeros around it and in the missing channels.
template <typename V>
void to_blocks(const typename V::Element* plain, typename V::Element* blocked, const Frame& frame) {
  using T = typename V::Element;
  const std::int64_t columns = frame.phases * frame.columns, pixels = frame.height * frame.width;
  const std::int64_t begin = frame.left < columns ? frame.left : columns;
  const std::int64_t end = frame.left + frame.width < columns ? frame.left + frame.width : columns;
  for (std::int64_t first = 0; first < frame.channels; first += kBlock) {
    const std::int64_t count = frame.channels - first < kBlock ? frame.channels - first : kBlock;
    for (std::int64_t row = 0; row < frame.rows; ++row, blocked += frame.row()) {
      const std::int64_t h = row - frame.above;
      if (h < 0 || h >= frame.height) {
        clear(blocked, frame.row());
        continue;
      }
      const T* from = plain + first * pixels + h * frame.width - frame.left;
      if (frame.phases == 1) {
        clear(blocked, begin * kBlock);
        rows_to_lanes<V>(from + begin, blocked + begin * kBlock, pixels, count, end - begin, kBlock);
        clear(blocked + end * kBlock, frame.row() - end * kBlock);
        continue;
      }
      clear(blocked, frame.row());
      for (std::int64_t column = begin; column < end; column += kBlock) {
        const std::int64_t tile = end - column < kBlock ? end - column : kBlock;
        T lanes[kBlock * kBlock];
        rows_to_lanes<V>(from + column, lanes, pixels, count, tile, kBlock);
        for (std::int64_t p = 0; p < tile; ++p) {
          T* to = blocked + ((column + p) % frame.phases * frame.columns + (column + p) / frame.phases) * kBlock;
          for (int lane = 0; lane < kBlock; lane += V::width) V::load(lanes + p * kBlock + lane).store(to + lane);
        }
      }
    }
  }
}

// The other way, of an image that has no zeros before it and one phase.
template <typename V>
void from_blocks(const typename V::Element* blocked, typename V::Element* plain, const Frame& frame) {
  const std::int64_t pixels = frame.height * frame.width;
  for (std::int64_t first = 0; first < frame.channels; first += kBlock, blocked += frame.plane()) {
    const std::int64_t count = frame.channels - first < kBlock ? frame.channels - first : kBlock;
    for (std::int64_t h = 0; h < frame.height; ++h) {
      lanes_to_rows<V>(blocked + h * frame.row(), plain + first * pixels + h * frame.width, pixels, count, frame.width,
                      kBlock);
    }
  }
}

}  // namespace
}  // namespace dtrain
