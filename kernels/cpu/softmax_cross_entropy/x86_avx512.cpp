#include "softmax_cross_entropy/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(softmax_cross_entropy, avx512)
DTRAIN_INSTANCE(softmax_cross_entropy_backward, avx512)

}  // namespace dtrain
