#include "optimizer/generic.h"
#include "simd/avx512.h"

namespace dtrain {

sgd_update_fn<float>* const sgd_update_f32_avx512 = sgd_update<avx512::Vec<float>>;
sgd_update_fn<double>* const sgd_update_f64_avx512 = sgd_update<avx512::Vec<double>>;
adam_update_fn<float>* const adam_update_f32_avx512 = adam_update<avx512::Vec<float>>;
adam_update_fn<double>* const adam_update_f64_avx512 = adam_update<avx512::Vec<double>>;

}  // namespace dtrain
