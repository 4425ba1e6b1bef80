#include "activation/generic.h"

#define DTRAIN_KERNELS "activation/kernels.inc"
#include "simd/instances.h"
