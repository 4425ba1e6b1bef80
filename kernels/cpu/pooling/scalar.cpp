#include "pooling/generic.h"
#include "simd/scalar.h"

namespace dtrain {

adaptive_average_pool2d_fn<float>* const adaptive_average_pool2d_f32_scalar = adaptive_average_pool2d<scalar::Vec<float>>;
adaptive_average_pool2d_fn<double>* const adaptive_average_pool2d_f64_scalar = adaptive_average_pool2d<scalar::Vec<double>>;
adaptive_average_pool2d_backward_fn<float>* const adaptive_average_pool2d_backward_f32_scalar = adaptive_average_pool2d_backward<scalar::Vec<float>>;
adaptive_average_pool2d_backward_fn<double>* const adaptive_average_pool2d_backward_f64_scalar = adaptive_average_pool2d_backward<scalar::Vec<double>>;
max_pool2d_fn<float>* const max_pool2d_f32_scalar = max_pool2d<scalar::Vec<float>>;
max_pool2d_fn<double>* const max_pool2d_f64_scalar = max_pool2d<scalar::Vec<double>>;
adaptive_max_pool2d_fn<float>* const adaptive_max_pool2d_f32_scalar = adaptive_max_pool2d<scalar::Vec<float>>;
adaptive_max_pool2d_fn<double>* const adaptive_max_pool2d_f64_scalar = adaptive_max_pool2d<scalar::Vec<double>>;
max_pool2d_backward_fn<float>* const max_pool2d_backward_f32_scalar = max_pool2d_backward<scalar::Vec<float>>;
max_pool2d_backward_fn<double>* const max_pool2d_backward_f64_scalar = max_pool2d_backward<scalar::Vec<double>>;
average_pool2d_fn<float>* const average_pool2d_f32_scalar = average_pool2d<scalar::Vec<float>>;
average_pool2d_fn<double>* const average_pool2d_f64_scalar = average_pool2d<scalar::Vec<double>>;
average_pool2d_backward_fn<float>* const average_pool2d_backward_f32_scalar = average_pool2d_backward<scalar::Vec<float>>;
average_pool2d_backward_fn<double>* const average_pool2d_backward_f64_scalar = average_pool2d_backward<scalar::Vec<double>>;

}  // namespace dtrain
