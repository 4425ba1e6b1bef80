#include "activation/generic.h"
#include "simd/scalar.h"

namespace dtrain {

relu_fn<float>* const relu_f32_scalar = relu<scalar::Vec<float>>;
relu_fn<double>* const relu_f64_scalar = relu<scalar::Vec<double>>;
relu6_fn<float>* const relu6_f32_scalar = relu6<scalar::Vec<float>>;
relu6_fn<double>* const relu6_f64_scalar = relu6<scalar::Vec<double>>;
sigmoid_fn<float>* const sigmoid_f32_scalar = sigmoid<scalar::Vec<float>>;
sigmoid_fn<double>* const sigmoid_f64_scalar = sigmoid<scalar::Vec<double>>;
silu_fn<float>* const silu_f32_scalar = silu<scalar::Vec<float>>;
silu_fn<double>* const silu_f64_scalar = silu<scalar::Vec<double>>;
hswish_fn<float>* const hswish_f32_scalar = hswish<scalar::Vec<float>>;
hswish_fn<double>* const hswish_f64_scalar = hswish<scalar::Vec<double>>;
gelu_fn<float>* const gelu_f32_scalar = gelu<scalar::Vec<float>>;
gelu_fn<double>* const gelu_f64_scalar = gelu<scalar::Vec<double>>;
relu_backward_fn<float>* const relu_backward_f32_scalar = relu_backward<scalar::Vec<float>>;
relu_backward_fn<double>* const relu_backward_f64_scalar = relu_backward<scalar::Vec<double>>;
relu6_backward_fn<float>* const relu6_backward_f32_scalar = relu6_backward<scalar::Vec<float>>;
relu6_backward_fn<double>* const relu6_backward_f64_scalar = relu6_backward<scalar::Vec<double>>;
sigmoid_backward_fn<float>* const sigmoid_backward_f32_scalar = sigmoid_backward<scalar::Vec<float>>;
sigmoid_backward_fn<double>* const sigmoid_backward_f64_scalar = sigmoid_backward<scalar::Vec<double>>;
tanh_backward_fn<float>* const tanh_backward_f32_scalar = tanh_backward<scalar::Vec<float>>;
tanh_backward_fn<double>* const tanh_backward_f64_scalar = tanh_backward<scalar::Vec<double>>;
silu_backward_fn<float>* const silu_backward_f32_scalar = silu_backward<scalar::Vec<float>>;
silu_backward_fn<double>* const silu_backward_f64_scalar = silu_backward<scalar::Vec<double>>;
hswish_backward_fn<float>* const hswish_backward_f32_scalar = hswish_backward<scalar::Vec<float>>;
hswish_backward_fn<double>* const hswish_backward_f64_scalar = hswish_backward<scalar::Vec<double>>;
gelu_backward_fn<float>* const gelu_backward_f32_scalar = gelu_backward<scalar::Vec<float>>;
gelu_backward_fn<double>* const gelu_backward_f64_scalar = gelu_backward<scalar::Vec<double>>;

}  // namespace dtrain
