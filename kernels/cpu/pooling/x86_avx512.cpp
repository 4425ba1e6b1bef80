#include "pooling/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(adaptive_average_pool2d, avx512)
DTRAIN_INSTANCE(adaptive_average_pool2d_backward, avx512)

}  // namespace dtrain
