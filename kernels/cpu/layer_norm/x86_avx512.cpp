#include "layer_norm/generic.h"
#include "simd/avx512.h"

namespace dtrain {

layer_norm_fn<float>* const layer_norm_f32_avx512 = layer_norm<avx512::Vec<float>>;
layer_norm_fn<double>* const layer_norm_f64_avx512 = layer_norm<avx512::Vec<double>>;
layer_norm_backward_fn<float>* const layer_norm_backward_f32_avx512 = layer_norm_backward<avx512::Vec<float>>;
layer_norm_backward_fn<double>* const layer_norm_backward_f64_avx512 = layer_norm_backward<avx512::Vec<double>>;

}  // namespace dtrain
