#include "softmax/generic.h"
#include "simd/avx2.h"

namespace dtrain {

softmax_fn<float>* const softmax_f32_avx2 = softmax<avx2::Vec<float>>;
softmax_fn<double>* const softmax_f64_avx2 = softmax<avx2::Vec<double>>;
softmax_backward_fn<float>* const softmax_backward_f32_avx2 = softmax_backward<avx2::Vec<float>>;
softmax_backward_fn<double>* const softmax_backward_f64_avx2 = softmax_backward<avx2::Vec<double>>;
log_softmax_fn<float>* const log_softmax_f32_avx2 = log_softmax<avx2::Vec<float>>;
log_softmax_fn<double>* const log_softmax_f64_avx2 = log_softmax<avx2::Vec<double>>;
log_softmax_backward_fn<float>* const log_softmax_backward_f32_avx2 = log_softmax_backward<avx2::Vec<float>>;
log_softmax_backward_fn<double>* const log_softmax_backward_f64_avx2 = log_softmax_backward<avx2::Vec<double>>;

}  // namespace dtrain
