#include "activation/generic.h"
#include "simd/avx2.h"

namespace dtrain {

relu_backward_fn<float>* const relu_backward_f32_avx2 = relu_backward<avx2::Vec<float>>;
relu_backward_fn<double>* const relu_backward_f64_avx2 = relu_backward<avx2::Vec<double>>;

}  // namespace dtrain
