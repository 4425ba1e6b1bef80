#include "layer_norm/generic.h"
#include "simd/avx2.h"

namespace dtrain {

layer_norm_fn<float>* const layer_norm_f32_avx2 = layer_norm<avx2::Vec<float>>;
layer_norm_fn<double>* const layer_norm_f64_avx2 = layer_norm<avx2::Vec<double>>;
layer_norm_backward_fn<float>* const layer_norm_backward_f32_avx2 = layer_norm_backward<avx2::Vec<float>>;
layer_norm_backward_fn<double>* const layer_norm_backward_f64_avx2 = layer_norm_backward<avx2::Vec<double>>;

}  // namespace dtrain
