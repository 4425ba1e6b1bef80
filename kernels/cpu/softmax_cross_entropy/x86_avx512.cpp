#include "softmax_cross_entropy/generic.h"
#include "simd/avx512.h"

namespace dtrain {

softmax_cross_entropy_fn<float>* const softmax_cross_entropy_f32_avx512 = softmax_cross_entropy<avx512::Vec<float>>;
softmax_cross_entropy_fn<double>* const softmax_cross_entropy_f64_avx512 = softmax_cross_entropy<avx512::Vec<double>>;
softmax_cross_entropy_backward_fn<float>* const softmax_cross_entropy_backward_f32_avx512 = softmax_cross_entropy_backward<avx512::Vec<float>>;
softmax_cross_entropy_backward_fn<double>* const softmax_cross_entropy_backward_f64_avx512 = softmax_cross_entropy_backward<avx512::Vec<double>>;

}  // namespace dtrain
