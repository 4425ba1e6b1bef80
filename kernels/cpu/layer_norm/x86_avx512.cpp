#include "layer_norm/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(layer_norm, avx512)
DTRAIN_INSTANCE(layer_norm_backward, avx512)

}  // namespace dtrain
