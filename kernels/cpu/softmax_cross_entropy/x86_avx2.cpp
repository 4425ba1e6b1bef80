#include "softmax_cross_entropy/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(softmax_cross_entropy, avx2)
DTRAIN_INSTANCE(softmax_cross_entropy_backward, avx2)

}  // namespace dtrain
