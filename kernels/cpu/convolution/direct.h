// Direct convolution: tiles of registers (gemm/tile.h) that read images where they lie, without columns.
//
// Forward, an image stands in zeros, its columns dealt out by the stride, so that what neighbouring outputs of a row see
// through a tap lies side by side: a tile takes up to 14 of them, and a table of places, one for each channel and tap,
// tells where. Rows of few outputs are first gathered, several to a tile. The gradient of the input is the same on dy,
// with a stride in sweeps: outputs of one remainder see the same taps.
//
// Weights come into blocks of 16 outputs some terms (channels times taps) at a time, so the workspace holds some images and a
// part of the weights, never all columns. The order of a sum depends on the sizes of one image alone: by this kernel it gives
// the same bits in any batch.
#pragma once

#include "convolution/direct_shape.h"
#include "convolution/generic.h"
#include "convolution/plane.h"
#include "gemm/tile.h"
#include "layout/generic.h"
#include "simd/clear.h"
#include "simd/finite.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

constexpr std::int64_t kFewest = 7;  // outputs of a row that are a tile; rows of fewer are gathered

// One tap of a sweep: where outputs see it in a plane, and which number of a kernel it is.
struct DirectTap {
  std::int64_t place, weight;
};

// Outputs that see the same taps: rows × columns of them, `step` apart in the result, from (top, left). Output (h, w)
// sees the plane of a channel at h · row + w + place, for each of the `count` taps.
struct Sweep {
  std::int64_t top, left, step_h, step_w, rows, columns;
  std::int64_t row;
  const DirectTap* taps;
  std::int64_t count;
};

// From images of `inputs` channels to images of `outputs`, both counted over all groups.
template <typename T>
struct Images {
  const T* from;
  T* to;
  std::int64_t batch, inputs, outputs;
  std::int64_t from_pixels, to_pixels, to_width;
};

// The number from channel c to output channel o through tap t, both counted within a group, is
// at[group · group_apart + o · out_apart + c · in_apart + t].
template <typename T>
struct DirectWeights {
  const T* at;
  std::int64_t group_apart, out_apart, in_apart, taps;
};

// One weight of `count` outputs, and zeros up to 16.
template <typename V>
void one_weight_to_block(const typename V::Element* from, std::int64_t apart, std::int64_t count,
                         typename V::Element* to) {
  using T = typename V::Element;
  if (apart == 1) {
    for_each_vector<V>(count, [&](std::int64_t o, auto lane) { lane.store(lane.load(from + o), to + o); });
  } else {
    for (std::int64_t o = 0; o < count; ++o) to[o] = from[o * apart];
  }
  for (std::int64_t o = count; o < kBlock; ++o) to[o] = T(0);
}

// Weights of 16 outputs each, [o / 16][term][16], of these blocks: `terms` of them from number `first` on. Term c · taps + t of an output is
// its weight of tap t of the sweep in channel c.
template <typename V>
void weights_to_blocks(const DirectWeights<typename V::Element>& weights, std::int64_t group, std::int64_t outputs,
                       Range blocks, std::int64_t first, std::int64_t terms, const Sweep& sweep,
                       typename V::Element* to) {
  using T = typename V::Element;
  const bool has_all_taps = sweep.count == weights.taps, lie_together = has_all_taps && weights.in_apart == sweep.count;
  for (std::int64_t o = blocks.begin * kBlock; o < outputs && o < blocks.end * kBlock; o += kBlock) {
    const std::int64_t count = outputs - o < kBlock ? outputs - o : kBlock;
    const T* from = weights.at + group * weights.group_apart + o * weights.out_apart;
    if (lie_together) {
      transpose<V>(from + first, weights.out_apart, count, terms, to, kBlock, kBlock);
      to += terms * kBlock;
      continue;
    }
    for (std::int64_t term = first; term < first + terms;) {
      const T* channel = from + term / sweep.count * weights.in_apart;
      const std::int64_t tap = term % sweep.count, missing = first + terms - term;
      const std::int64_t taps = sweep.count - tap < missing ? sweep.count - tap : missing;
      if (has_all_taps && taps > 3) {
        transpose<V>(channel + tap, weights.out_apart, count, taps, to, kBlock, kBlock);
        to += taps * kBlock;
      } else {
        for (std::int64_t t = tap; t < tap + taps; ++t, to += kBlock) {
          one_weight_to_block<V>(channel + sweep.taps[t].weight, weights.out_apart, count, to);
        }
      }
      term += taps;
    }
  }
}

// Outputs of one sweep that lie side by side in the result, or a step apart.
struct Segment {
  std::int64_t image, h, w, length;
};

// The pixels of a sweep over images, from number `pixel` on, to the end of its row or of `left` pixels.
inline Segment segment_at(const Sweep& sweep, std::int64_t pixel, std::int64_t left) {
  const std::int64_t row = pixel / sweep.columns, w = pixel % sweep.columns;
  return {row / sweep.rows, row % sweep.rows, w, sweep.columns - w < left ? sweep.columns - w : left};
}

// [pixels][16] of `channels` output channels into the result.
template <typename V>
void write_pixels(const typename V::Element* lanes, std::int64_t pixel, std::int64_t count, std::int64_t channel,
                  std::int64_t channels, const Sweep& sweep, const Images<typename V::Element>& images, std::int64_t first_image) {
  while (count > 0) {
    const Segment at = segment_at(sweep, pixel, count);
    typename V::Element* to = images.to + ((first_image + at.image) * images.outputs + channel) * images.to_pixels +
            (sweep.top + at.h * sweep.step_h) * images.to_width + sweep.left + at.w * sweep.step_w;
    if (sweep.step_w == 1) {
      lanes_to_rows<V>(lanes, to, images.to_pixels, channels, at.length, kBlock);
    } else {
      for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t w = 0; w < at.length; ++w) to[c * images.to_pixels + w * sweep.step_w] = lanes[w * kBlock + c];
      }
    }
    lanes += at.length * kBlock;
    pixel += at.length;
    count -= at.length;
  }
}

// What `count` pixels from number `pixel` on see at each of `places`, as [place][16].
template <typename V>
void gather(const typename V::Element* placed, std::int64_t image_apart, const Sweep& sweep, std::int64_t pixel, int count,
            const std::int64_t* places, std::int64_t places_count, typename V::Element* to) {
  const typename V::Element* from[kBlock];
  int at[kBlock], segments = 0;
  for (int done = 0; done < count; ++segments) {
    const Segment segment = segment_at(sweep, pixel + done, count - done);
    from[segments] = placed + segment.image * image_apart + segment.h * sweep.row + segment.w;
    at[segments] = done;
    done += static_cast<int>(segment.length);
  }
  for (std::int64_t k = 0; k < places_count; ++k, to += kBlock) {
    for (int i = 0; i < segments; ++i) {  // a segment writes 16 numbers; the next overwrites what is not its own
      for (int lane = 0; lane < kBlock; lane += V::width) V::load(from[i] + places[k] + lane).store(to + at[i] + lane);
    }
  }
}

// One group of one sweep over the images of a chunk, which stand in their zeros at the beginning of the workspace.
template <typename V>
class DirectSweep {
 public:
  using T = typename V::Element;
  DirectSweep(const Images<T>& images, const DirectWeights<T>& weights, const DirectShape& d, Range blocks,
              const DirectPieces& pieces, T* workspace)
      : images_(images), weights_(weights), d_(d), blocks_(blocks), placed_(workspace), packed_(placed_ + pieces.placed),
        panel_(packed_ + pieces.weights), sums_(panel_ + pieces.panel),
        places_(reinterpret_cast<std::int64_t*>(sums_ + pieces.sums)) {}

  void run(const Sweep& sweep, std::int64_t group, std::int64_t first_image, std::int64_t count) {
    const T* placed = placed_ + group * d_.inputs * d_.plane.size();
    const std::int64_t image_apart = images_.inputs * d_.plane.size();
    const std::int64_t pixels = count * sweep.rows * sweep.columns;
    const std::int64_t all = d_.inputs * sweep.count;  // none for outputs that see nothing: they are 0
    for (std::int64_t first = 0, terms = 0; first == 0 || first < all; first += d_.terms_a_chunk) {
      terms = all - first < d_.terms_a_chunk ? all - first : d_.terms_a_chunk;
      take_terms(sweep, group, first, terms);
      const auto tile = [&](const auto& a, std::int64_t pixel, int rows) {
        multiply_pixels(a, rows, pixel, pixels, terms, first == 0, first + terms == all, sweep, group, first_image);
      };
      if (sweep.columns >= kFewest) {
        const std::int64_t tiles = (sweep.columns + kRows - 1) / kRows;
        std::int64_t pixel = 0;
        for (std::int64_t row = 0; row < count * sweep.rows; ++row) {
          const T* from = placed + row / sweep.rows * image_apart + row % sweep.rows * sweep.row;
          for (std::int64_t i = 0, w = 0; i < tiles; ++i) {
            const int rows = rows_of_tile(sweep.columns, tiles, i, w);
            tile(AtOffsets<T>{from + w, places_, terms}, pixel, rows);
            w += rows;
            pixel += rows;
          }
        }
      } else {
        const std::int64_t tiles = (pixels + kRows - 1) / kRows;
        for (std::int64_t i = 0, pixel = 0; i < tiles; ++i) {
          const int rows = rows_of_tile(pixels, tiles, i, pixel);
          gather<V>(placed, image_apart, sweep, pixel, rows, places_, terms, panel_);
          tile(AcrossBlocks<T>{panel_, terms}, pixel, rows);
          pixel += rows;
        }
      }
    }
  }

 private:
  static constexpr int kRows = RegisterTile<V>::rows, kBlocks = RegisterTile<V>::blocks;

  // Where these terms are seen, and their weights.
  void take_terms(const Sweep& sweep, std::int64_t group, std::int64_t first, std::int64_t terms) {
    for (std::int64_t i = 0; i < terms; ++i) {
      const std::int64_t channel = (first + i) / sweep.count, tap = (first + i) % sweep.count;
      places_[i] = channel * d_.plane.size() + sweep.taps[tap].place;
    }
    weights_to_blocks<V>(weights_, group, d_.outputs, blocks_, first, terms, sweep, packed_);
  }

  // `rows` of the chunk's pixels, from number `pixel` on, times the weights of these terms. Sums that are complete at
  // once go to the result from the first cache.
  template <typename A>
  __attribute__((noinline)) void multiply_pixels(const A& a, int rows, std::int64_t pixel, std::int64_t pixels,
                                                 std::int64_t terms, bool is_first, bool is_last, const Sweep& sweep,
                                                 std::int64_t group, std::int64_t first_image) {
    for (std::int64_t block = blocks_.begin; block < blocks_.end; block += kBlocks) {
      T lanes[kBlocks * kBlock * kBlock];
      const bool is_short = is_first && is_last;
      T* c = is_short ? lanes : sums_ + ((block - blocks_.begin) * pixels + pixel) * kBlock;
      const std::int64_t c_jump = (is_short ? kBlock : pixels) * kBlock;
      const T* b = packed_ + (block - blocks_.begin) * terms * kBlock;
      const int count = blocks_.end - block < kBlocks ? 1 : kBlocks;
      multiply_blocks<V>(rows, count, a, b, terms * kBlock, c, c_jump, !is_first);
      for (std::int64_t i = block; is_last && i < block + count; ++i) {
        const std::int64_t left = d_.outputs - i * kBlock;
        write_pixels<V>(c + (i - block) * c_jump, pixel, rows, group * d_.outputs + i * kBlock,
                        left < kBlock ? left : kBlock, sweep, images_, first_image);
      }
    }
  }

  const Images<T>& images_;
  const DirectWeights<T>& weights_;
  const DirectShape& d_;
  const Range blocks_;  // of 16 outputs of a group
  T *placed_, *packed_, *panel_, *sums_;
  std::int64_t* places_;
};

// All sweeps of a part, steps_h × steps_w of them; `sweep_at(i, j, taps)` gives one and writes its taps.
template <typename V, typename SweepAt>
void convolve_in_sweeps(const Images<typename V::Element>& images, const DirectWeights<typename V::Element>& weights,
                        const DirectShape& d, const DirectPart& part, const Placement& placement, std::int64_t steps_h,
                        std::int64_t steps_w, const SweepAt& sweep_at, typename V::Element* workspace) {
  using T = typename V::Element;
  const DirectPieces pieces(d, sizeof(T));
  DirectTap* taps = reinterpret_cast<DirectTap*>(workspace + pieces.total() - pieces.taps);
  DirectSweep<V> direct(images, weights, d, part.outputs, pieces, workspace);
  const std::int64_t together = part.images.end - part.images.begin < d.images_a_chunk ? part.images.end - part.images.begin
                                                                                       : d.images_a_chunk;
  for (std::int64_t image = 0; image < together; ++image) {
    clear(workspace + (image * images.inputs + part.groups.begin * d.inputs) * d.plane.size(),
          (part.groups.end - part.groups.begin) * d.inputs * d.plane.size());
  }
  for (std::int64_t first = part.images.begin; first < part.images.end; first += d.images_a_chunk) {
    const std::int64_t left = part.images.end - first, count = left < d.images_a_chunk ? left : d.images_a_chunk;
    for (std::int64_t image = 0; image < count; ++image) {
      for (std::int64_t c = part.groups.begin * d.inputs; c < part.groups.end * d.inputs; ++c) {
        place<V>(images.from + ((first + image) * images.inputs + c) * images.from_pixels, placement,
                 workspace + (image * images.inputs + c) * d.plane.size(), d.plane);
      }
    }
    for (std::int64_t i = 0; i < steps_h; ++i) {
      for (std::int64_t j = 0; j < steps_w; ++j) {
        const Sweep sweep = sweep_at(i, j, taps);
        for (std::int64_t group = part.groups.begin; group < part.groups.end; ++group) {
          direct.run(sweep, group, first, count);
        }
      }
    }
  }
}

template <typename V>
void conv2d_direct(const typename V::Element* x, const typename V::Element* weights, typename V::Element* y,
                   const ConvolutionShape& s, const DirectShape& d, const DirectPart& part,
                   typename V::Element* workspace) {
  using T = typename V::Element;
  const std::int64_t taps = d.taps;
  const auto sweep_at = [&](std::int64_t, std::int64_t, DirectTap* to) {
    for (std::int64_t t = 0; t < taps; ++t) {
      to[t] = {d.plane.at(t / s.kernel_width * s.dilation_h, t % s.kernel_width * s.dilation_w), t};
    }
    return Sweep{0, 0, 1, 1, s.out_height, s.out_width, s.stride_h * d.plane.row(), to, taps};
  };
  const Images<T> images{x,         y, s.batch, s.channels, s.out_channels, s.height * s.width, s.out_height * s.out_width,
                         s.out_width};
  const DirectWeights<T> kernels{weights, d.outputs * d.inputs * taps, d.inputs * taps, taps, taps};
  convolve_in_sweeps<V>(images, kernels, d, part, {s.height, s.width, 1, 1, s.pad_h, s.pad_w}, 1, 1, sweep_at, workspace);
}

// The gradient of the input tap by tap, where a weight is not finite: it must not meet the zeros around dy, 0 · ∞ is NaN.
template <typename V>
void spread_planes(const typename V::Element* dy, const typename V::Element* weights, typename V::Element* dx,
                   const ConvolutionShape& s, const DirectShape& d, const DirectPart& part) {
  const std::int64_t taps = d.taps;
  for (std::int64_t image = part.images.begin; image < part.images.end; ++image) {
    for (std::int64_t c = part.groups.begin * d.outputs; c < part.groups.end * d.outputs; ++c) {
      const std::int64_t block = c % d.outputs / kBlock;
      if (block < part.outputs.begin || block >= part.outputs.end) continue;
      for (std::int64_t o = 0; o < d.inputs; ++o) {  // of dy, this group's
        const std::int64_t group = c / d.outputs, channel = group * d.inputs + o;
        spread_plane<V>(dy + (image * s.out_channels + channel) * s.out_height * s.out_width,
                        weights + (channel * d.outputs + c % d.outputs) * taps,
                        dx + (image * s.channels + c) * s.height * s.width, s, o > 0);
      }
    }
  }
}

// Outputs of remainder (i, j) by the stride see dy through the taps whose distance is a multiple of it.
template <typename V>
void conv2d_backward_data_direct(const typename V::Element* dy, const typename V::Element* weights,
                                 typename V::Element* dx, const ConvolutionShape& s, const DirectShape& d,
                                 const DirectPart& part, typename V::Element* workspace) {
  using T = typename V::Element;
  if (!all_finite<V>(weights, s.out_channels * d.outputs * d.taps)) {
    spread_planes<V>(dy, weights, dx, s, d, part);
    return;
  }
  const std::int64_t taps = d.taps;
  const std::int64_t above = seen_before(s.kernel_height, s.dilation_h, s.pad_h, s.stride_h);
  const std::int64_t left = seen_before(s.kernel_width, s.dilation_w, s.pad_w, s.stride_w);
  const auto sweep_at = [&](std::int64_t i, std::int64_t j, DirectTap* to) {
    std::int64_t count = 0;
    for (std::int64_t t = 0; t < taps; ++t) {
      const std::int64_t row = i + s.pad_h - t / s.kernel_width * s.dilation_h;
      const std::int64_t column = j + s.pad_w - t % s.kernel_width * s.dilation_w;
      if (row % s.stride_h != 0 || column % s.stride_w != 0) continue;
      to[count++] = {d.plane.at(row / s.stride_h + above, column / s.stride_w + left), t};
    }
    return Sweep{i,
                 j,
                 s.stride_h,
                 s.stride_w,
                 (s.height - i + s.stride_h - 1) / s.stride_h,
                 (s.width - j + s.stride_w - 1) / s.stride_w,
                 d.plane.row(),
                 to,
                 count};
  };
  const Images<T> images{dy,      dx, s.batch, s.out_channels, s.channels, s.out_height * s.out_width, s.height * s.width,
                         s.width};
  const DirectWeights<T> kernels{weights, d.outputs * d.inputs * taps, taps, d.outputs * taps, taps};
  const std::int64_t steps_h = s.stride_h < s.height ? s.stride_h : s.height;
  const std::int64_t steps_w = s.stride_w < s.width ? s.stride_w : s.width;
  convolve_in_sweeps<V>(images, kernels, d, part, {s.out_height, s.out_width, 1, 1, above, left}, steps_h, steps_w,
                        sweep_at, workspace);
}

}  // namespace
}  // namespace dtrain
