#include "optimizer/generic.h"
#include "simd/scalar.h"

namespace dtrain {

sgd_update_fn<float>* const sgd_update_f32_scalar = sgd_update<scalar::Vec<float>>;
sgd_update_fn<double>* const sgd_update_f64_scalar = sgd_update<scalar::Vec<double>>;
adam_update_fn<float>* const adam_update_f32_scalar = adam_update<scalar::Vec<float>>;
adam_update_fn<double>* const adam_update_f64_scalar = adam_update<scalar::Vec<double>>;

}  // namespace dtrain
