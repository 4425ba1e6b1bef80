// Convolution with kernels of 3×3 and stride 1 by Winograd's F(4×4, 3×3) (Lavin and Gray 2016), and its gradients.
//
// A tile of 4×4 outputs takes 36 multiplications a pair of channels instead of 144. With D a 6×6 tile of the input, W a
// kernel and Y the 4×4 outputs, of one input and one output channel:
//
//   Y = Aᵀ [(G W Gᵀ) ⊙ (Bᵀ D B)] A          dW = Gᵀ [(A dY Aᵀ) ⊙ (Bᵀ D B)] G
//
// The sum over channels, or tiles, is 36 matrix products. dX is the convolution of dY with the kernels turned by 180°.
//
// A number that is not finite, or overflows in the transforms, would spread over its whole tile: what comes out so is
// computed again, image by image (gradients of weights as a whole), tap by tap and without transforms.
//
// Shapes: x [N][C][H][W], weights [O][C][3][3], y [N][O][OH][OW].
#pragma once

#include <cstdint>

namespace dtrain {

struct WinogradShape {
  std::int64_t batch, channels, height, width;
  std::int64_t out_channels, out_height, out_width;
  std::int64_t pad_h, pad_w;
  std::int64_t tiles_a_chunk;  // are transformed, multiplied and transformed back together
};

// The pieces of the workspace, in elements. kernels/winograd.py says their sum.
struct WinogradPieces {
  explicit WinogradPieces(const WinogradShape& s)
      : tile_rows((s.out_height + 3) / 4),
        tile_columns((s.out_width + 3) / 4),
        input_blocks((s.channels + 15) / 16),
        output_blocks((s.out_channels + 15) / 16),
        image(input_blocks * 16 * (4 * tile_rows + 2) * (4 * tile_columns + 2)),
        result(output_blocks * 16 * 16 * tile_rows * tile_columns),
        weights_apart(input_blocks * output_blocks * 256 + 16),
        inputs_apart(input_blocks * 16 * s.tiles_a_chunk + 16),
        outputs_apart(output_blocks * 16 * s.tiles_a_chunk + 16) {}

  std::int64_t tiles() const { return tile_rows * tile_columns; }
  std::int64_t total() const {
    return image + result + 36 * (weights_apart + inputs_apart + outputs_apart) + 9 * weights_apart;
  }

  std::int64_t tile_rows, tile_columns, input_blocks, output_blocks;
  std::int64_t image, result;  // one image, in blocks of channels
  // The 36 matrices of each kind lie this far apart: 16 numbers more than they are, so that they do not all fall into the
  // same places of the cache.
  std::int64_t weights_apart, inputs_apart, outputs_apart;
};

template <typename T>
using conv2d_winograd_fn = void(const T* x, const T* weights, T* y, const WinogradShape& shape, T* workspace);

// `shape` is that of the forward convolution's gradient: x is dy, y is dx, and pad is 2 − the padding.
template <typename T>
using conv2d_backward_data_winograd_fn = void(const T* dy, const T* weights, T* dx, const WinogradShape& shape,
                                              T* workspace);

template <typename T>
using conv2d_backward_weights_winograd_fn = void(const T* dy, const T* x, T* dweights, const WinogradShape& shape,
                                                 T* workspace);

}  // namespace dtrain
