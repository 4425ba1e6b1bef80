#include "pooling/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(adaptive_average_pool2d, scalar)
DTRAIN_INSTANCE(adaptive_average_pool2d_backward, scalar)
DTRAIN_INSTANCE(max_pool2d, scalar)
DTRAIN_INSTANCE(adaptive_max_pool2d, scalar)
DTRAIN_INSTANCE(max_pool2d_backward, scalar)
DTRAIN_INSTANCE(average_pool2d, scalar)
DTRAIN_INSTANCE(average_pool2d_backward, scalar)

}  // namespace dtrain
