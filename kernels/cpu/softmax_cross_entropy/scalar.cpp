#include "softmax_cross_entropy/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(softmax_cross_entropy, scalar)
DTRAIN_INSTANCE(softmax_cross_entropy_backward, scalar)

}  // namespace dtrain
