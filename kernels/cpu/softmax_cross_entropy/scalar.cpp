#include "softmax_cross_entropy/generic.h"
#include "simd/scalar.h"

namespace dtrain {

softmax_cross_entropy_fn<float>* const softmax_cross_entropy_f32_scalar = softmax_cross_entropy<scalar::Vec<float>>;
softmax_cross_entropy_fn<double>* const softmax_cross_entropy_f64_scalar = softmax_cross_entropy<scalar::Vec<double>>;
softmax_cross_entropy_backward_fn<float>* const softmax_cross_entropy_backward_f32_scalar = softmax_cross_entropy_backward<scalar::Vec<float>>;
softmax_cross_entropy_backward_fn<double>* const softmax_cross_entropy_backward_f64_scalar = softmax_cross_entropy_backward<scalar::Vec<double>>;

}  // namespace dtrain
