#include "batch_norm/generic.h"
#include "simd/scalar.h"

namespace dtrain {

batch_norm_statistics_fn<float>* const batch_norm_statistics_f32_scalar = batch_norm_statistics<scalar::Vec<float>>;
batch_norm_statistics_fn<double>* const batch_norm_statistics_f64_scalar = batch_norm_statistics<scalar::Vec<double>>;
batch_norm_normalize_fn<float>* const batch_norm_normalize_f32_scalar = batch_norm_normalize<scalar::Vec<float>>;
batch_norm_normalize_fn<double>* const batch_norm_normalize_f64_scalar = batch_norm_normalize<scalar::Vec<double>>;
batch_norm_backward_sums_fn<float>* const batch_norm_backward_sums_f32_scalar = batch_norm_backward_sums<scalar::Vec<float>>;
batch_norm_backward_sums_fn<double>* const batch_norm_backward_sums_f64_scalar = batch_norm_backward_sums<scalar::Vec<double>>;
batch_norm_backward_data_fn<float>* const batch_norm_backward_data_f32_scalar = batch_norm_backward_data<scalar::Vec<float>>;
batch_norm_backward_data_fn<double>* const batch_norm_backward_data_f64_scalar = batch_norm_backward_data<scalar::Vec<double>>;
batch_norm_merge_fn<float>* const batch_norm_merge_f32_scalar = batch_norm_merge<scalar::Vec<float>>;
batch_norm_merge_fn<double>* const batch_norm_merge_f64_scalar = batch_norm_merge<scalar::Vec<double>>;
batch_norm_moments_fn<float>* const batch_norm_moments_f32_scalar = batch_norm_moments<scalar::Vec<float>>;
batch_norm_moments_fn<double>* const batch_norm_moments_f64_scalar = batch_norm_moments<scalar::Vec<double>>;
batch_norm_update_running_fn<float>* const batch_norm_update_running_f32_scalar = batch_norm_update_running<scalar::Vec<float>>;
batch_norm_update_running_fn<double>* const batch_norm_update_running_f64_scalar = batch_norm_update_running<scalar::Vec<double>>;

}  // namespace dtrain
