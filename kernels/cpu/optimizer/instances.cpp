#include "optimizer/generic.h"

#define DTRAIN_KERNELS "optimizer/kernels.inc"
#include "simd/instances.h"
