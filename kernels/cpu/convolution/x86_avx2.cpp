#include "convolution/generic.h"
#include "simd/avx2.h"

namespace dtrain {

im2col_fn<float>* const im2col_f32_avx2 = im2col<avx2::Vec<float>>;
im2col_fn<double>* const im2col_f64_avx2 = im2col<avx2::Vec<double>>;
col2im_fn<float>* const col2im_f32_avx2 = col2im<avx2::Vec<float>>;
col2im_fn<double>* const col2im_f64_avx2 = col2im<avx2::Vec<double>>;
depthwise_conv2d_fn<float>* const depthwise_conv2d_f32_avx2 = depthwise_conv2d<avx2::Vec<float>>;
depthwise_conv2d_fn<double>* const depthwise_conv2d_f64_avx2 = depthwise_conv2d<avx2::Vec<double>>;
depthwise_conv2d_backward_data_fn<float>* const depthwise_conv2d_backward_data_f32_avx2 = depthwise_conv2d_backward_data<avx2::Vec<float>>;
depthwise_conv2d_backward_data_fn<double>* const depthwise_conv2d_backward_data_f64_avx2 = depthwise_conv2d_backward_data<avx2::Vec<double>>;
depthwise_conv2d_backward_weights_fn<float>* const depthwise_conv2d_backward_weights_f32_avx2 = depthwise_conv2d_backward_weights<avx2::Vec<float>>;
depthwise_conv2d_backward_weights_fn<double>* const depthwise_conv2d_backward_weights_f64_avx2 = depthwise_conv2d_backward_weights<avx2::Vec<double>>;

}  // namespace dtrain
