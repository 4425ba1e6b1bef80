#include "softmax/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(softmax, avx512)
DTRAIN_INSTANCE(softmax_backward, avx512)
DTRAIN_INSTANCE(log_softmax, avx512)
DTRAIN_INSTANCE(log_softmax_backward, avx512)

}  // namespace dtrain
