#include "softmax_cross_entropy/generic.h"

#define DTRAIN_KERNELS "softmax_cross_entropy/kernels.inc"
#include "simd/instances.h"
