#include "convolution/generic.h"
#include "simd/scalar.h"

namespace dtrain {

im2col_fn<float>* const im2col_f32_scalar = im2col<scalar::Vec<float>>;
im2col_fn<double>* const im2col_f64_scalar = im2col<scalar::Vec<double>>;
col2im_fn<float>* const col2im_f32_scalar = col2im<scalar::Vec<float>>;
col2im_fn<double>* const col2im_f64_scalar = col2im<scalar::Vec<double>>;
depthwise_conv2d_fn<float>* const depthwise_conv2d_f32_scalar = depthwise_conv2d<scalar::Vec<float>>;
depthwise_conv2d_fn<double>* const depthwise_conv2d_f64_scalar = depthwise_conv2d<scalar::Vec<double>>;
depthwise_conv2d_backward_data_fn<float>* const depthwise_conv2d_backward_data_f32_scalar = depthwise_conv2d_backward_data<scalar::Vec<float>>;
depthwise_conv2d_backward_data_fn<double>* const depthwise_conv2d_backward_data_f64_scalar = depthwise_conv2d_backward_data<scalar::Vec<double>>;
depthwise_conv2d_backward_weights_fn<float>* const depthwise_conv2d_backward_weights_f32_scalar = depthwise_conv2d_backward_weights<scalar::Vec<float>>;
depthwise_conv2d_backward_weights_fn<double>* const depthwise_conv2d_backward_weights_f64_scalar = depthwise_conv2d_backward_weights<scalar::Vec<double>>;

}  // namespace dtrain
