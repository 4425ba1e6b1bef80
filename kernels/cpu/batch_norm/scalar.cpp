#include "batch_norm/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(batch_norm_statistics, scalar)
DTRAIN_INSTANCE(batch_norm_normalize, scalar)
DTRAIN_INSTANCE(batch_norm_backward_sums, scalar)
DTRAIN_INSTANCE(batch_norm_backward_data, scalar)
DTRAIN_INSTANCE(batch_norm_merge, scalar)
DTRAIN_INSTANCE(batch_norm_moments, scalar)
DTRAIN_INSTANCE(batch_norm_update_running, scalar)

}  // namespace dtrain
