#include "convolution/depthwise.h"
#include "convolution/generic.h"

#define DTRAIN_KERNELS "convolution/kernels.inc"
#include "simd/instances.h"
