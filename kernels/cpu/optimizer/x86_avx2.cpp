#include "optimizer/generic.h"
#include "simd/avx2.h"

namespace dtrain {

sgd_update_fn<float>* const sgd_update_f32_avx2 = sgd_update<avx2::Vec<float>>;
sgd_update_fn<double>* const sgd_update_f64_avx2 = sgd_update<avx2::Vec<double>>;
adam_update_fn<float>* const adam_update_f32_avx2 = adam_update<avx2::Vec<float>>;
adam_update_fn<double>* const adam_update_f64_avx2 = adam_update<avx2::Vec<double>>;

}  // namespace dtrain
