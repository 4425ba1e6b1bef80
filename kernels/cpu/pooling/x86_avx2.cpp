#include "pooling/generic.h"
#include "simd/avx2.h"

namespace dtrain {

adaptive_average_pool2d_fn<float>* const adaptive_average_pool2d_f32_avx2 = adaptive_average_pool2d<avx2::Vec<float>>;
adaptive_average_pool2d_fn<double>* const adaptive_average_pool2d_f64_avx2 = adaptive_average_pool2d<avx2::Vec<double>>;
adaptive_average_pool2d_backward_fn<float>* const adaptive_average_pool2d_backward_f32_avx2 = adaptive_average_pool2d_backward<avx2::Vec<float>>;
adaptive_average_pool2d_backward_fn<double>* const adaptive_average_pool2d_backward_f64_avx2 = adaptive_average_pool2d_backward<avx2::Vec<double>>;

}  // namespace dtrain
