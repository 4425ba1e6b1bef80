#include "softmax/generic.h"
#include "simd/avx512.h"

namespace dtrain {

softmax_fn<float>* const softmax_f32_avx512 = softmax<avx512::Vec<float>>;
softmax_fn<double>* const softmax_f64_avx512 = softmax<avx512::Vec<double>>;
softmax_backward_fn<float>* const softmax_backward_f32_avx512 = softmax_backward<avx512::Vec<float>>;
softmax_backward_fn<double>* const softmax_backward_f64_avx512 = softmax_backward<avx512::Vec<double>>;
log_softmax_fn<float>* const log_softmax_f32_avx512 = log_softmax<avx512::Vec<float>>;
log_softmax_fn<double>* const log_softmax_f64_avx512 = log_softmax<avx512::Vec<double>>;
log_softmax_backward_fn<float>* const log_softmax_backward_f32_avx512 = log_softmax_backward<avx512::Vec<float>>;
log_softmax_backward_fn<double>* const log_softmax_backward_f64_avx512 = log_softmax_backward<avx512::Vec<double>>;

}  // namespace dtrain
