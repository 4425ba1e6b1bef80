#include "convolution/generic.h"
#include "simd/avx512.h"

namespace dtrain {

im2col_fn<float>* const im2col_f32_avx512 = im2col<avx512::Vec<float>>;
im2col_fn<double>* const im2col_f64_avx512 = im2col<avx512::Vec<double>>;
col2im_fn<float>* const col2im_f32_avx512 = col2im<avx512::Vec<float>>;
col2im_fn<double>* const col2im_f64_avx512 = col2im<avx512::Vec<double>>;
depthwise_conv2d_fn<float>* const depthwise_conv2d_f32_avx512 = depthwise_conv2d<avx512::Vec<float>>;
depthwise_conv2d_fn<double>* const depthwise_conv2d_f64_avx512 = depthwise_conv2d<avx512::Vec<double>>;
depthwise_conv2d_backward_data_fn<float>* const depthwise_conv2d_backward_data_f32_avx512 = depthwise_conv2d_backward_data<avx512::Vec<float>>;
depthwise_conv2d_backward_data_fn<double>* const depthwise_conv2d_backward_data_f64_avx512 = depthwise_conv2d_backward_data<avx512::Vec<double>>;
depthwise_conv2d_backward_weights_fn<float>* const depthwise_conv2d_backward_weights_f32_avx512 = depthwise_conv2d_backward_weights<avx512::Vec<float>>;
depthwise_conv2d_backward_weights_fn<double>* const depthwise_conv2d_backward_weights_f64_avx512 = depthwise_conv2d_backward_weights<avx512::Vec<double>>;

}  // namespace dtrain
