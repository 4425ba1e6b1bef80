#include "convolution/depthwise.h"
#include "convolution/depthwise_blocks.h"
#include "convolution/direct.h"
#include "convolution/direct_weights.h"
#include "convolution/generic.h"
#include "convolution/pointwise.h"

#define DTRAIN_KERNELS "convolution/kernels.inc"
#include "simd/instances.h"
