#include "softmax/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(softmax, avx2)
DTRAIN_INSTANCE(softmax_backward, avx2)
DTRAIN_INSTANCE(log_softmax, avx2)
DTRAIN_INSTANCE(log_softmax_backward, avx2)

}  // namespace dtrain
