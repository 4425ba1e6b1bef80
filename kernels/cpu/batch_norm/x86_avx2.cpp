#include "batch_norm/generic.h"
#include "simd/avx2.h"

namespace dtrain {

batch_norm_statistics_fn<float>* const batch_norm_statistics_f32_avx2 = batch_norm_statistics<avx2::Vec<float>>;
batch_norm_statistics_fn<double>* const batch_norm_statistics_f64_avx2 = batch_norm_statistics<avx2::Vec<double>>;
batch_norm_normalize_fn<float>* const batch_norm_normalize_f32_avx2 = batch_norm_normalize<avx2::Vec<float>>;
batch_norm_normalize_fn<double>* const batch_norm_normalize_f64_avx2 = batch_norm_normalize<avx2::Vec<double>>;
batch_norm_backward_sums_fn<float>* const batch_norm_backward_sums_f32_avx2 = batch_norm_backward_sums<avx2::Vec<float>>;
batch_norm_backward_sums_fn<double>* const batch_norm_backward_sums_f64_avx2 = batch_norm_backward_sums<avx2::Vec<double>>;
batch_norm_backward_data_fn<float>* const batch_norm_backward_data_f32_avx2 = batch_norm_backward_data<avx2::Vec<float>>;
batch_norm_backward_data_fn<double>* const batch_norm_backward_data_f64_avx2 = batch_norm_backward_data<avx2::Vec<double>>;

}  // namespace dtrain
