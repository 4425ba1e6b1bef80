#include "softmax/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(softmax, scalar)
DTRAIN_INSTANCE(softmax_backward, scalar)
DTRAIN_INSTANCE(log_softmax, scalar)
DTRAIN_INSTANCE(log_softmax_backward, scalar)

}  // namespace dtrain
