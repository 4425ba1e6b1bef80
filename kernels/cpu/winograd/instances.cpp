#include "winograd/generic.h"

#define DTRAIN_KERNELS "winograd/kernels.inc"
#include "simd/instances.h"
