#include "gelu/generic.h"

#define DTRAIN_KERNELS "gelu/kernels.inc"
#include "simd/instances.h"
