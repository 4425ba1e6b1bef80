#include "softmax/generic.h"
#include "simd/scalar.h"

namespace dtrain {

softmax_fn<float>* const softmax_f32_scalar = softmax<scalar::Vec<float>>;
softmax_fn<double>* const softmax_f64_scalar = softmax<scalar::Vec<double>>;
softmax_backward_fn<float>* const softmax_backward_f32_scalar = softmax_backward<scalar::Vec<float>>;
softmax_backward_fn<double>* const softmax_backward_f64_scalar = softmax_backward<scalar::Vec<double>>;
log_softmax_fn<float>* const log_softmax_f32_scalar = log_softmax<scalar::Vec<float>>;
log_softmax_fn<double>* const log_softmax_f64_scalar = log_softmax<scalar::Vec<double>>;
log_softmax_backward_fn<float>* const log_softmax_backward_f32_scalar = log_softmax_backward<scalar::Vec<float>>;
log_softmax_backward_fn<double>* const log_softmax_backward_f64_scalar = log_softmax_backward<scalar::Vec<double>>;

}  // namespace dtrain
