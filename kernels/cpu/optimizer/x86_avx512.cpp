#include "optimizer/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(sgd_update, avx512)
DTRAIN_INSTANCE(adam_update, avx512)

}  // namespace dtrain
