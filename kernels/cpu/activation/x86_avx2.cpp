#include "activation/generic.h"
#include "simd/avx2.h"

namespace dtrain {

relu_fn<float>* const relu_f32_avx2 = relu<avx2::Vec<float>>;
relu_fn<double>* const relu_f64_avx2 = relu<avx2::Vec<double>>;
relu6_fn<float>* const relu6_f32_avx2 = relu6<avx2::Vec<float>>;
relu6_fn<double>* const relu6_f64_avx2 = relu6<avx2::Vec<double>>;
sigmoid_fn<float>* const sigmoid_f32_avx2 = sigmoid<avx2::Vec<float>>;
sigmoid_fn<double>* const sigmoid_f64_avx2 = sigmoid<avx2::Vec<double>>;
silu_fn<float>* const silu_f32_avx2 = silu<avx2::Vec<float>>;
silu_fn<double>* const silu_f64_avx2 = silu<avx2::Vec<double>>;
hswish_fn<float>* const hswish_f32_avx2 = hswish<avx2::Vec<float>>;
hswish_fn<double>* const hswish_f64_avx2 = hswish<avx2::Vec<double>>;
gelu_fn<float>* const gelu_f32_avx2 = gelu<avx2::Vec<float>>;
gelu_fn<double>* const gelu_f64_avx2 = gelu<avx2::Vec<double>>;
relu_backward_fn<float>* const relu_backward_f32_avx2 = relu_backward<avx2::Vec<float>>;
relu_backward_fn<double>* const relu_backward_f64_avx2 = relu_backward<avx2::Vec<double>>;
relu6_backward_fn<float>* const relu6_backward_f32_avx2 = relu6_backward<avx2::Vec<float>>;
relu6_backward_fn<double>* const relu6_backward_f64_avx2 = relu6_backward<avx2::Vec<double>>;
sigmoid_backward_fn<float>* const sigmoid_backward_f32_avx2 = sigmoid_backward<avx2::Vec<float>>;
sigmoid_backward_fn<double>* const sigmoid_backward_f64_avx2 = sigmoid_backward<avx2::Vec<double>>;
tanh_backward_fn<float>* const tanh_backward_f32_avx2 = tanh_backward<avx2::Vec<float>>;
tanh_backward_fn<double>* const tanh_backward_f64_avx2 = tanh_backward<avx2::Vec<double>>;
silu_backward_fn<float>* const silu_backward_f32_avx2 = silu_backward<avx2::Vec<float>>;
silu_backward_fn<double>* const silu_backward_f64_avx2 = silu_backward<avx2::Vec<double>>;
hswish_backward_fn<float>* const hswish_backward_f32_avx2 = hswish_backward<avx2::Vec<float>>;
hswish_backward_fn<double>* const hswish_backward_f64_avx2 = hswish_backward<avx2::Vec<double>>;
gelu_backward_fn<float>* const gelu_backward_f32_avx2 = gelu_backward<avx2::Vec<float>>;
gelu_backward_fn<double>* const gelu_backward_f64_avx2 = gelu_backward<avx2::Vec<double>>;

}  // namespace dtrain
