#include "random/generic.h"

namespace dtrain {

random_uniform_fn<float>* const random_uniform_f32_scalar = random_uniform<float>;
random_uniform_fn<double>* const random_uniform_f64_scalar = random_uniform<double>;
random_normal_fn<float>* const random_normal_f32_scalar = random_normal<float>;
random_normal_fn<double>* const random_normal_f64_scalar = random_normal<double>;
random_dropout_mask_fn<float>* const random_dropout_mask_f32_scalar = random_dropout_mask<float>;
random_dropout_mask_fn<double>* const random_dropout_mask_f64_scalar = random_dropout_mask<double>;

}  // namespace dtrain
