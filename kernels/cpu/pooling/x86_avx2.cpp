#include "pooling/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(adaptive_average_pool2d, avx2)
DTRAIN_INSTANCE(adaptive_average_pool2d_backward, avx2)

}  // namespace dtrain
