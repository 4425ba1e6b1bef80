// Convolution by a kernel of one pixel, and the gradient of its input: a product of matrices whose columns are pixels. Images
// stay plain, vectors lie along pixels, and the numbers of a tile's rows are weights:
//
//   to[n][o][p] = Σ_i weight[o][i] · from[n][i][p]
//
// Some pixels at a time are brought together from their channels, also from several small images, and weights into tiles. A
// sum is made in the order of the channels, 576 at a time, so that an image gives the same bits in any batch.
#pragma once

#include "convolution/pointwise_shape.h"
#include "gemm/tile.h"
#include "layout/generic.h"
#include "simd/clear.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

constexpr std::int64_t kPanel = 32;           // pixels
constexpr std::int64_t kMostInputs = 576;     // that are added one by one, since the error of a sum grows with them

// Weights of a tile, [input][ROWS].
template <typename T, int ROWS>
struct InTiles {
  static constexpr int kApart = 1;
  const T* at;
  std::int64_t count;

  template <typename Step>
  __attribute__((always_inline)) void walk(const Step& step) const {
    const T* from = at;
    for (std::int64_t k = 0; k < count; ++k, from += ROWS) step(from);
  }
};

// work(place, pixels, number of the first in an array of `channels`) for the pixels of each image among `count` of them, from
// number `first` of all on.
template <typename Work>
inline void for_each_image(std::int64_t first, std::int64_t count, std::int64_t pixels, std::int64_t channels, const Work& work) {
  for (std::int64_t place = 0; place < count;) {
    const std::int64_t image = (first + place) / pixels, pixel = (first + place) % pixels;
    const std::int64_t run = std::min(pixels - pixel, count - place);
    work(place, run, image * channels * pixels + pixel);
    place += run;
  }
}

// The same in runs of one block of lanes, at most 16.
template <typename Work>
inline void for_each_run(std::int64_t first, std::int64_t count, std::int64_t pixels, std::int64_t channels, const Work& work) {
  for_each_image(first, count, pixels, channels, [&](std::int64_t place, std::int64_t left, std::int64_t pixel) {
    for (const std::int64_t end = place + left; place < end;) {
      const std::int64_t run = std::min(kBlock - place % kBlock, end - place);
      work(place, run, pixel);
      place += run;
      pixel += run;
    }
  });
}

template <typename V>
inline void copy_run(const typename V::Element* from, typename V::Element* to, std::int64_t count) {
  for_each_vector<V>(count, [&](std::int64_t i, auto lane) { lane.store(lane.load(from + i), to + i); });
}

template <typename V>
inline void copy_block(const typename V::Element* from, typename V::Element* to) {
  for (int lane = 0; lane < kBlock; lane += V::width) V::load(from + lane).store(to + lane);
}

// What `count` pixels see of all inputs, as [block of 16 pixels][input][16]; zeros up to a whole panel.
template <typename V>
void take_pixels(const typename V::Element* from, const PointwiseShape& s, std::int64_t first, std::int64_t count,
                 typename V::Element* to) {
  const std::int64_t block_apart = s.inputs * kBlock;
  if (count % kPanel == 0 && first % s.pixels + count <= s.pixels) {
    const typename V::Element* row = from + first / s.pixels * s.inputs * s.pixels + first % s.pixels;
    for (std::int64_t i = 0; i < s.inputs; ++i, row += s.pixels, to += kBlock) {
      for (std::int64_t block = 0; block * kBlock < count; ++block) {
        copy_block<V>(row + block * kBlock, to + block * block_apart);
      }
    }
    return;
  }
  const std::int64_t whole = count / kPanel * kPanel;
  if (whole < count) clear(to + whole * s.inputs, kPanel * s.inputs);
  for_each_run(first, count, s.pixels, s.inputs, [&](std::int64_t lane, std::int64_t run, std::int64_t pixel) {
    const typename V::Element* row = from + pixel;
    typename V::Element* lanes = to + lane / kBlock * block_apart + lane % kBlock;
    for (std::int64_t i = 0; i < s.inputs; ++i) copy_run<V>(row + i * s.pixels, lanes + i * kBlock, run);
  });
}

// Weights of `rows` outputs of a tile.
template <typename V>
void take_weights(const typename V::Element* weights, const PointwiseShape& s, std::int64_t output, int rows,
                  typename V::Element* to) {
  constexpr int kRows = RegisterTile<V>::rows;
  const typename V::Element* from = weights + output * s.output_apart;
  if (s.input_apart == 1) {
    transpose<V>(from, s.output_apart, rows, s.inputs, to, kRows, rows);
  } else {
    for (std::int64_t i = 0; i < s.inputs; ++i) copy_run<V>(from + i * s.input_apart, to + i * kRows, rows);
  }
}

// `rows` outputs of a panel: into the result where its pixels lie together there, else by way of lanes.
template <typename V>
void multiply_panel(int rows, const typename V::Element* weights, const typename V::Element* seen, const PointwiseShape& s,
                    std::int64_t output, std::int64_t first, std::int64_t count, typename V::Element* to) {
  using T = typename V::Element;
  constexpr int kRows = RegisterTile<V>::rows, kBlocks = RegisterTile<V>::blocks;
  const bool lies_together = count == kPanel && first % s.pixels + kPanel <= s.pixels;
  T lanes[kPanel * kRows];
  T* c = lies_together ? to + (first / s.pixels * s.outputs + output) * s.pixels + first % s.pixels : lanes;
  const std::int64_t c_apart = lies_together ? s.pixels : kPanel;
  for (std::int64_t begin = 0; begin < s.inputs; begin += kMostInputs) {
    const InTiles<T, kRows> a{weights + begin * kRows, std::min(kMostInputs, s.inputs - begin)};
    for (int block = 0; block * kBlock < count; block += kBlocks) {
      multiply_rows<V, kBlocks>(rows, a, seen + (block * s.inputs + begin) * kBlock, s.inputs * kBlock, c + block * kBlock,
                                kBlock, begin > 0, c_apart);
    }
  }
  if (lies_together) return;
  for_each_run(first, count, s.pixels, s.outputs, [&](std::int64_t lane, std::int64_t run, std::int64_t pixel) {
    T* row = to + pixel + output * s.pixels;
    for (int r = 0; r < rows; ++r) copy_run<V>(lanes + r * kPanel + lane, row + r * s.pixels, run);
  });
}

template <typename V>
void convolve_pointwise(const typename V::Element* from, const typename V::Element* weights, typename V::Element* to,
                        const PointwiseShape& s, const PointwisePart& part, typename V::Element* workspace) {
  constexpr int kRows = RegisterTile<V>::rows;
  typename V::Element* seen = workspace;
  typename V::Element* tiles = seen + s.pixels_together() * s.inputs;
  const std::int64_t together = s.outputs_together();
  for (std::int64_t begin = part.outputs.begin; begin < part.outputs.end; begin += together) {
    const std::int64_t outputs = std::min(together, part.outputs.end - begin), count = (outputs + kRows - 1) / kRows;
    for (std::int64_t tile = 0, row = 0; tile < count; ++tile) {
      const int rows = rows_of_tile(outputs, count, tile, row);
      take_weights<V>(weights, s, begin + row, rows, tiles + tile * kRows * s.inputs);
      row += rows;
    }
    for (std::int64_t pixel = part.pixels.begin; pixel < part.pixels.end; pixel += s.pixels_together()) {
      const std::int64_t pixels = std::min(s.pixels_together(), part.pixels.end - pixel);
      take_pixels<V>(from, s, pixel, pixels, seen);
      for (std::int64_t tile = 0, row = 0; tile < count; ++tile) {
        const int rows = rows_of_tile(outputs, count, tile, row);
        for (std::int64_t done = 0; done < pixels; done += kPanel) {
          multiply_panel<V>(rows, tiles + tile * kRows * s.inputs, seen + done * s.inputs, s, begin + row, pixel + done,
                            std::min(kPanel, pixels - done), to);
        }
        row += rows;
      }
    }
  }
}

template <typename V>
void conv2d_pointwise(const typename V::Element* x, const typename V::Element* weights, typename V::Element* y,
                      const PointwiseShape& s, const PointwisePart& part, typename V::Element* workspace) {
  convolve_pointwise<V>(x, weights, y, s, part, workspace);
}

template <typename V>
void conv2d_backward_data_pointwise(const typename V::Element* dy, const typename V::Element* weights, typename V::Element* dx,
                                    const PointwiseShape& s, const PointwisePart& part, typename V::Element* workspace) {
  convolve_pointwise<V>(dy, weights, dx, s, part, workspace);
}

}  // namespace
}  // namespace dtrain
