// The gradient of the weights of a direct convolution: both images come into blocks of channels, and tiles of registers sum
// over pixels, 16 channels of x times up to 32 of dy for each tap.
#pragma once

#include "convolution/direct_shape.h"
#include "gemm/tile.h"
#include "layout/frame.h"
#include "simd/loop.h"

namespace dtrain {
namespace {

// Pixels that a tile sums over at once, of rows of one image and of several small images: the more, the fewer times sums are
// read and written, and the further off they are.
constexpr std::int64_t kBand = 128, kSmallPixels = 64;

// Sums of at most 16 channels × 16 outputs, [tap][channel][16] with taps `tap_apart`, into `outputs` kernels. `turned` is
// room for them, a kernel's numbers together.
template <typename V>
void add_to_kernels(const typename V::Element* sums, std::int64_t tap_apart, std::int64_t channels, std::int64_t taps,
                    typename V::Element* kernels, std::int64_t kernel_apart, std::int64_t outputs, bool adds,
                    typename V::Element* turned) {
  const std::int64_t size = channels * taps;
  if (taps == 1) {
    transpose<V>(sums, kBlock, channels, outputs, turned, size, size);
  } else {
    for (std::int64_t c = 0; c < channels; ++c) {
      transpose<V>(sums + c * kBlock, tap_apart, taps, outputs, turned + c * taps, size, taps);
    }
  }
  for (std::int64_t o = 0; o < outputs; ++o, turned += size, kernels += kernel_apart) {
    for_each_vector<V>(size, [&](std::int64_t i, auto lane) {
      const V sum = lane.load(turned + i);
      lane.store(adds ? lane.load(kernels + i) + sum : sum, kernels + i);
    });
  }
}

// sums[tap][block][channel][16] += or = Σ over pixels of what the tap sees of `channels` channels, times dy.
template <typename V>
void add_taps(const AcrossBlocks<typename V::Element>& pixels, std::int64_t channels, const typename V::Element* grads,
              std::int64_t grads_apart, std::int64_t blocks, const ConvolutionShape& s, const DirectShape& d,
              typename V::Element* sums, bool adds) {
  for (std::int64_t t = 0; t < d.taps; ++t) {
    AcrossBlocks<typename V::Element> seen = pixels;
    seen.at += d.plane.at(t / s.kernel_width * s.dilation_h, t % s.kernel_width * s.dilation_w) * kBlock;
    multiply<V>(channels, blocks, seen, grads, grads_apart, sums + t * RegisterTile<V>::blocks * kBlock * kBlock,
                kBlock * kBlock, adds);
  }
}

// Σ over pixels of 16 channels of x times a tile's columns of dy, tap by tap, in bands of rows; then into the plain
// gradient, kernel by kernel.
template <typename V>
void conv2d_backward_weights_direct(const typename V::Element* dy, const typename V::Element* x,
                                    typename V::Element* dweights, const ConvolutionShape& s, const DirectShape& d,
                                    const DirectPart& part, typename V::Element* workspace) {
  using T = typename V::Element;
  constexpr int kBlocks = RegisterTile<V>::blocks;
  const DirectWeightsPieces pieces(d);
  T* images = workspace;
  T* grads = images + pieces.images;
  T* sums = grads + pieces.grads;
  const std::int64_t taps = d.taps, pixels = s.out_height * s.out_width;
  const std::int64_t c_begin = part.inputs.begin * kBlock, c_last = part.inputs.end * kBlock;
  const std::int64_t c_end = c_last < d.inputs ? c_last : d.inputs;
  const Frame frame{c_end - c_begin, s.height, s.width, s.pad_h, s.pad_w, d.plane.rows, d.plane.pitch, d.plane.phases};
  // Some rows of one image, or some images; a part of a row where it is longer.
  const std::int64_t band = kBand / s.out_width > 0 ? kBand / s.out_width : 1;
  const std::int64_t images_at_once = kSmallPixels / pixels > 0 ? kSmallPixels / pixels : 1;
  for (std::int64_t begin = 0; begin < s.batch; begin += d.images_a_chunk) {
    const std::int64_t count = s.batch - begin < d.images_a_chunk ? s.batch - begin : d.images_a_chunk;
    for (std::int64_t group = part.groups.begin; group < part.groups.end; ++group) {
      for (std::int64_t n = 0; n < count; ++n) {
        to_blocks<V>(x + ((begin + n) * s.channels + group * d.inputs + c_begin) * s.height * s.width,
                     images + n * frame.size(), frame);
        for (std::int64_t block = part.outputs.begin; block < part.outputs.end; ++block) {
          const std::int64_t left = d.outputs - block * kBlock;
          const T* from = dy + ((begin + n) * s.out_channels + group * d.outputs + block * kBlock) * pixels;
          T* to = grads + ((block - part.outputs.begin) * count + n) * pixels * kBlock;
          rows_to_lanes<V>(from, to, pixels, left < kBlock ? left : kBlock, pixels, kBlock);
        }
      }
      for (std::int64_t c = c_begin; c < c_end; c += kBlock) {
        const std::int64_t channels = c_end - c < kBlock ? c_end - c : kBlock;
        for (std::int64_t block = part.outputs.begin; block < part.outputs.end; block += kBlocks) {
          const std::int64_t blocks = part.outputs.end - block < kBlocks ? 1 : kBlocks;
          const T* grads_of_block = grads + (block - part.outputs.begin) * count * pixels * kBlock;
          for (std::int64_t n = 0; n < count; n += images_at_once) {
            for (std::int64_t h = 0; h < s.out_height; h += band) {
              for (std::int64_t w = 0; w < s.out_width; w += kBand) {
                const AcrossBlocks<T> pixels_of_x{
                    images + n * frame.size() + (c - c_begin) / kBlock * frame.plane() + h * s.stride_h * frame.row() + w * kBlock,
                    s.out_width - w < kBand ? s.out_width - w : kBand,
                    s.out_height - h < band ? s.out_height - h : band,
                    s.stride_h * frame.row(),
                    count - n < images_at_once ? count - n : images_at_once,
                    frame.size()};
                add_taps<V>(pixels_of_x, channels, grads_of_block + (n * pixels + h * s.out_width + w) * kBlock,
                            count * pixels * kBlock, blocks, s, d, sums, n > 0 || h > 0 || w > 0);
              }
            }
          }
          for (std::int64_t i = 0; i < blocks; ++i) {
            const std::int64_t first = (block + i) * kBlock, left = d.outputs - first;
            add_to_kernels<V>(sums + i * kBlock * kBlock, kBlocks * kBlock * kBlock, channels, taps,
                              dweights + ((group * d.outputs + first) * d.inputs + c) * taps, d.inputs * taps,
                              left < kBlock ? left : kBlock, begin > 0, sums + pieces.sums);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
