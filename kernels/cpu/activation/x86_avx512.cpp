#include "activation/generic.h"
#include "simd/avx512.h"

namespace dtrain {

relu_backward_fn<float>* const relu_backward_f32_avx512 = relu_backward<avx512::Vec<float>>;
relu_backward_fn<double>* const relu_backward_f64_avx512 = relu_backward<avx512::Vec<double>>;

}  // namespace dtrain
