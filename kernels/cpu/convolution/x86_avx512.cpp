#include "convolution/generic.h"
#include "simd/avx512.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(depthwise_conv2d, avx512)
DTRAIN_INSTANCE(depthwise_conv2d_backward_data, avx512)
DTRAIN_INSTANCE(depthwise_conv2d_backward_weights, avx512)

}  // namespace dtrain
