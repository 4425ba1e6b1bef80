#include "layer_norm/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(layer_norm, scalar)
DTRAIN_INSTANCE(layer_norm_backward, scalar)

}  // namespace dtrain
