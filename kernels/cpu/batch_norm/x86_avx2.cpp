#include "batch_norm/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(batch_norm_statistics, avx2)
DTRAIN_INSTANCE(batch_norm_normalize, avx2)
DTRAIN_INSTANCE(batch_norm_backward_sums, avx2)
DTRAIN_INSTANCE(batch_norm_backward_data, avx2)

}  // namespace dtrain
