#include "random/generic.h"

#define DTRAIN_KERNELS "random/kernels.inc"
#include "simd/instances.h"
