#include "activation/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(relu, avx2)
DTRAIN_INSTANCE(relu6, avx2)
DTRAIN_INSTANCE(sigmoid, avx2)
DTRAIN_INSTANCE(silu, avx2)
DTRAIN_INSTANCE(hswish, avx2)
DTRAIN_INSTANCE(gelu, avx2)
DTRAIN_INSTANCE(relu_backward, avx2)
DTRAIN_INSTANCE(relu6_backward, avx2)
DTRAIN_INSTANCE(sigmoid_backward, avx2)
DTRAIN_INSTANCE(tanh_backward, avx2)
DTRAIN_INSTANCE(silu_backward, avx2)
DTRAIN_INSTANCE(hswish_backward, avx2)
DTRAIN_INSTANCE(gelu_backward, avx2)

}  // namespace dtrain
