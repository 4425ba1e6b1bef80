#include "activation/generic.h"
#include "simd/scalar.h"

namespace dtrain {

relu_backward_fn<float>* const relu_backward_f32_scalar = relu_backward<scalar::Vec<float>>;
relu_backward_fn<double>* const relu_backward_f64_scalar = relu_backward<scalar::Vec<double>>;

}  // namespace dtrain
