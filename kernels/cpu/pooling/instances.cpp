#include "pooling/generic.h"

#define DTRAIN_KERNELS "pooling/kernels.inc"
#include "simd/instances.h"
