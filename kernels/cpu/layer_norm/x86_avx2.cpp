#include "layer_norm/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(layer_norm, avx2)
DTRAIN_INSTANCE(layer_norm_backward, avx2)

}  // namespace dtrain
