#include "batch_norm/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(batch_norm_statistics, avx512)
DTRAIN_INSTANCE(batch_norm_normalize, avx512)
DTRAIN_INSTANCE(batch_norm_backward_sums, avx512)
DTRAIN_INSTANCE(batch_norm_backward_data, avx512)

}  // namespace dtrain
