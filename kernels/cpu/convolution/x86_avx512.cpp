#include "convolution/generic.h"
#include "simd/avx512.h"

namespace dtrain {

depthwise_conv2d_fn<float>* const depthwise_conv2d_f32_avx512 = depthwise_conv2d<avx512::Vec<float>>;
depthwise_conv2d_fn<double>* const depthwise_conv2d_f64_avx512 = depthwise_conv2d<avx512::Vec<double>>;
depthwise_conv2d_backward_data_fn<float>* const depthwise_conv2d_backward_data_f32_avx512 = depthwise_conv2d_backward_data<avx512::Vec<float>>;
depthwise_conv2d_backward_data_fn<double>* const depthwise_conv2d_backward_data_f64_avx512 = depthwise_conv2d_backward_data<avx512::Vec<double>>;
depthwise_conv2d_backward_weights_fn<float>* const depthwise_conv2d_backward_weights_f32_avx512 = depthwise_conv2d_backward_weights<avx512::Vec<float>>;
depthwise_conv2d_backward_weights_fn<double>* const depthwise_conv2d_backward_weights_f64_avx512 = depthwise_conv2d_backward_weights<avx512::Vec<double>>;

}  // namespace dtrain
