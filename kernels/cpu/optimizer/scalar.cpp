#include "optimizer/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(sgd_update, scalar)
DTRAIN_INSTANCE(adam_update, scalar)

}  // namespace dtrain
