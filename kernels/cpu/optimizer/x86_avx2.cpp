#include "optimizer/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(sgd_update, avx2)
DTRAIN_INSTANCE(adam_update, avx2)

}  // namespace dtrain
