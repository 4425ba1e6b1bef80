#include "layout/generic.h"

#define DTRAIN_KERNELS "layout/kernels.inc"
#include "simd/instances.h"
