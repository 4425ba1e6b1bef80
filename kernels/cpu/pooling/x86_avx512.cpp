#include "pooling/generic.h"
#include "simd/avx512.h"

namespace dtrain {

adaptive_average_pool2d_fn<float>* const adaptive_average_pool2d_f32_avx512 = adaptive_average_pool2d<avx512::Vec<float>>;
adaptive_average_pool2d_fn<double>* const adaptive_average_pool2d_f64_avx512 = adaptive_average_pool2d<avx512::Vec<double>>;
adaptive_average_pool2d_backward_fn<float>* const adaptive_average_pool2d_backward_f32_avx512 = adaptive_average_pool2d_backward<avx512::Vec<float>>;
adaptive_average_pool2d_backward_fn<double>* const adaptive_average_pool2d_backward_f64_avx512 = adaptive_average_pool2d_backward<avx512::Vec<double>>;

}  // namespace dtrain
