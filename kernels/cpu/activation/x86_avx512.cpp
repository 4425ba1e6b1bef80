#include "activation/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(relu, avx512)
DTRAIN_INSTANCE(relu6, avx512)
DTRAIN_INSTANCE(sigmoid, avx512)
DTRAIN_INSTANCE(silu, avx512)
DTRAIN_INSTANCE(hswish, avx512)
DTRAIN_INSTANCE(gelu, avx512)
DTRAIN_INSTANCE(relu_backward, avx512)
DTRAIN_INSTANCE(relu6_backward, avx512)
DTRAIN_INSTANCE(sigmoid_backward, avx512)
DTRAIN_INSTANCE(tanh_backward, avx512)
DTRAIN_INSTANCE(silu_backward, avx512)
DTRAIN_INSTANCE(hswish_backward, avx512)
DTRAIN_INSTANCE(gelu_backward, avx512)

}  // namespace dtrain
