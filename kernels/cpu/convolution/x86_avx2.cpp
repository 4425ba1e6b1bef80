#include "convolution/generic.h"
#include "simd/avx2.h"
#include "simd/instance.h"

namespace dtrain {

DTRAIN_INSTANCE(im2col, avx2)
DTRAIN_INSTANCE(col2im, avx2)
DTRAIN_INSTANCE(depthwise_conv2d, avx2)
DTRAIN_INSTANCE(depthwise_conv2d_backward_data, avx2)
DTRAIN_INSTANCE(depthwise_conv2d_backward_weights, avx2)

}  // namespace dtrain
