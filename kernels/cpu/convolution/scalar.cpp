#include "convolution/generic.h"
#include "simd/instance.h"
#include "simd/scalar.h"

namespace dtrain {

DTRAIN_INSTANCE(im2col, scalar)
DTRAIN_INSTANCE(col2im, scalar)
DTRAIN_INSTANCE(depthwise_conv2d, scalar)
DTRAIN_INSTANCE(depthwise_conv2d_backward_data, scalar)
DTRAIN_INSTANCE(depthwise_conv2d_backward_weights, scalar)

}  // namespace dtrain
