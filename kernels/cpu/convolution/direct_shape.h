// Sizes of direct convolutions, and of the pieces of their workspaces. kernels/direct.py says the same.
#pragma once

#include "convolution/convolution.h"

namespace dtrain {

// A direct convolution from images of `inputs` channels a group to images of `outputs`; the gradient of the weights has that
// of the forward way.
struct DirectShape {
  std::int64_t groups, inputs, outputs, taps;
  PaddedPlane plane;                                   // of one channel, in its zeros
  std::int64_t pixels;                                 // of an image that are computed in one sweep, at most
  std::int64_t images_a_chunk, terms_a_chunk;          // that lie in the workspace together: images, and weights of an output
};

inline std::int64_t in_blocks(std::int64_t count) { return (count + 15) / 16 * 16; }

// Rows of dy, or columns, that lie before the first and are seen.
inline std::int64_t seen_before(std::int64_t kernel, std::int64_t dilation, std::int64_t padding, std::int64_t stride) {
  const std::int64_t reach = (kernel - 1) * dilation - padding;
  return reach > 0 ? reach / stride : 0;
}

// As many images as make pixels worth bringing weights into blocks for. Weights of 512 KB in f32, which the second cache has
// room for, but of no fewer than 192 terms, or the sums would be read and written too often, and of no more than 576 (a 3×3
// kernel of 64 channels), since the error of a sum grows with the numbers that are added one by one.
inline DirectShape in_chunks(DirectShape d, std::int64_t batch) {
  const std::int64_t images = d.pixels > 0 ? 1024 / d.pixels : 1;
  d.images_a_chunk = images < 1 ? 1 : images < batch ? images : batch;
  std::int64_t terms = (1 << 17) / in_blocks(d.outputs);
  terms = terms < 192 ? 192 : terms > 576 ? 576 : terms;
  if (d.taps <= terms) terms -= terms % d.taps;  // whole channels
  d.terms_a_chunk = terms < d.inputs * d.taps ? terms : d.inputs * d.taps;
  return d;
}

// From x to y, and for the gradient of the weights.
inline DirectShape forward_shape(const ConvolutionShape& s, std::int64_t groups) {
  const PaddedPlane plane{(s.out_height - 1) * s.stride_h + (s.kernel_height - 1) * s.dilation_h + 1, s.stride_w,
                          s.out_width + (s.kernel_width - 1) * s.dilation_w / s.stride_w};
  return in_chunks({groups, s.channels / groups, s.out_channels / groups, s.kernel_height * s.kernel_width, plane,
                    s.out_height * s.out_width, 0, 0},
                   s.batch);
}

// From dy to dx.
inline DirectShape backward_shape(const ConvolutionShape& s, std::int64_t groups) {
  const PaddedPlane plane{
      (s.height - 1 + s.pad_h) / s.stride_h + seen_before(s.kernel_height, s.dilation_h, s.pad_h, s.stride_h) + 1, 1,
      (s.width - 1 + s.pad_w) / s.stride_w + seen_before(s.kernel_width, s.dilation_w, s.pad_w, s.stride_w) + 1};
  const std::int64_t rows = (s.height + s.stride_h - 1) / s.stride_h, columns = (s.width + s.stride_w - 1) / s.stride_w;
  return in_chunks({groups, s.out_channels / groups, s.channels / groups, s.kernel_height * s.kernel_width, plane,
                    rows * columns, 0, 0},
                   s.batch);
}

// The pieces of the workspace, in elements of `itemsize` bytes.
struct DirectPieces {
  DirectPieces(const DirectShape& d, std::int64_t itemsize)
      : placed(in_blocks(d.images_a_chunk * d.groups * d.inputs * d.plane.size() + 16)),
        weights(in_blocks(d.outputs) * d.terms_a_chunk),
        panel(16 * d.terms_a_chunk + 16),
        sums(d.terms_a_chunk < d.inputs * d.taps ? in_blocks(d.outputs) * d.images_a_chunk * d.pixels : 0),
        places(in_blocks(d.terms_a_chunk) * 8 / itemsize),
        taps(in_blocks(2 * d.taps) * 8 / itemsize) {}
  std::int64_t total() const { return placed + weights + panel + sums + places + taps; }

  std::int64_t placed;         // images in their zeros
  std::int64_t weights;        // some terms of each output
  std::int64_t panel;          // what a tile of gathered pixels sees
  std::int64_t sums;           // of pixels, while terms are missing
  std::int64_t places, taps;   // where a term is seen, and which taps a sweep has: 64 and 128 bits each
};

// What of a direct convolution is to be computed: images and groups, and in each of these groups blocks of 16 outputs; for
// the gradient of the weights all images, and blocks of 16 inputs too.
struct DirectPart {
  Range images, groups, outputs, inputs;
};

// A direct convolution in at most `wanted` parts. Whoever computes one brings what it reads into place himself: parts by
// groups share nothing, those by images share the weights, and those by blocks of outputs (two at a time, as a tile takes
// them) share the images. The lighter of the two is what parts share.
class DirectParts {
 public:
  DirectParts(const DirectShape& d, std::int64_t batch, std::int64_t wanted, bool is_of_weights)
      : batch_(batch), of_groups_(d.groups), of_outputs_((d.outputs + 15) / 16), of_inputs_((d.inputs + 15) / 16) {
    groups_ = at_most(d.groups, wanted);
    wanted /= groups_;
    const std::int64_t pairs = (of_outputs_ + 1) / 2;
    if (is_of_weights) {
      inputs_ = at_most(of_inputs_, wanted);
      outputs_ = at_most(pairs, wanted / inputs_);
    } else if (d.outputs * d.taps > batch * d.plane.size()) {
      outputs_ = at_most(pairs, wanted);
      images_ = at_most(batch, wanted / outputs_);
    } else {
      images_ = at_most(batch, wanted);
      outputs_ = at_most(pairs, wanted / images_);
    }
  }
  std::int64_t count() const { return images_ * groups_ * inputs_ * outputs_; }
  DirectPart part(std::int64_t number) const {
    DirectPart found{};
    found.images = cut(batch_, images_, number);
    found.groups = cut(of_groups_, groups_, number);
    found.inputs = cut(of_inputs_, inputs_, number);
    const Range pairs = cut((of_outputs_ + 1) / 2, outputs_, number);
    found.outputs = {2 * pairs.begin, at_most(2 * pairs.end, of_outputs_)};
    return found;
  }

 private:
  static std::int64_t at_most(std::int64_t count, std::int64_t bound) {
    return count < bound ? count : bound < 1 ? 1 : bound;
  }
  // Part `number` % `parts` of `count`; leaves the number that the other cuts are to be read from.
  static Range cut(std::int64_t count, std::int64_t parts, std::int64_t& number) {
    const std::int64_t part = number % parts;
    number /= parts;
    return {count * part / parts, count * (part + 1) / parts};
  }

  std::int64_t batch_, of_groups_, of_outputs_, of_inputs_;
  std::int64_t images_ = 1, groups_, inputs_ = 1, outputs_;
};

// For the gradient of weights: both images in blocks, sums of 16 channels times 32 outputs, and half of them kernel by
// kernel.
struct DirectWeightsPieces {
  explicit DirectWeightsPieces(const DirectShape& d)
      : images(d.images_a_chunk * in_blocks(d.inputs) * d.plane.size()),
        grads(d.images_a_chunk * in_blocks(d.outputs) * d.pixels),
        sums(d.taps * 2 * 16 * 16),
        turned(d.taps * 16 * 16) {}
  std::int64_t total() const { return images + grads + sums + turned; }

  std::int64_t images, grads, sums, turned;
};

template <typename T>
using conv2d_direct_fn = void(const T* x, const T* weights, T* y, const ConvolutionShape& shape,
                              const DirectShape& direct, const DirectPart& part, T* workspace);

template <typename T>
using conv2d_backward_data_direct_fn = void(const T* dy, const T* weights, T* dx, const ConvolutionShape& shape,
                                            const DirectShape& direct, const DirectPart& part, T* workspace);

template <typename T>
using conv2d_backward_weights_direct_fn = void(const T* dy, const T* x, T* dweights, const ConvolutionShape& shape,
                                               const DirectShape& direct, const DirectPart& part, T* workspace);

}  // namespace dtrain
