#include "layer_norm/generic.h"
#include "simd/scalar.h"

namespace dtrain {

layer_norm_fn<float>* const layer_norm_f32_scalar = layer_norm<scalar::Vec<float>>;
layer_norm_fn<double>* const layer_norm_f64_scalar = layer_norm<scalar::Vec<double>>;
layer_norm_backward_fn<float>* const layer_norm_backward_f32_scalar = layer_norm_backward<scalar::Vec<float>>;
layer_norm_backward_fn<double>* const layer_norm_backward_f64_scalar = layer_norm_backward<scalar::Vec<double>>;

}  // namespace dtrain
