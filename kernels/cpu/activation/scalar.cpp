#include "activation/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(relu, scalar)
DTRAIN_INSTANCE(relu6, scalar)
DTRAIN_INSTANCE(sigmoid, scalar)
DTRAIN_INSTANCE(silu, scalar)
DTRAIN_INSTANCE(hswish, scalar)
DTRAIN_INSTANCE(gelu, scalar)
DTRAIN_INSTANCE(relu_backward, scalar)
DTRAIN_INSTANCE(relu6_backward, scalar)
DTRAIN_INSTANCE(sigmoid_backward, scalar)
DTRAIN_INSTANCE(tanh_backward, scalar)
DTRAIN_INSTANCE(silu_backward, scalar)
DTRAIN_INSTANCE(hswish_backward, scalar)
DTRAIN_INSTANCE(gelu_backward, scalar)

}  // namespace dtrain
