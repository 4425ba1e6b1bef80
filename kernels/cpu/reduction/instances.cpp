#include "reduction/generic.h"

#define DTRAIN_KERNELS "reduction/kernels.inc"
#include "simd/instances.h"
