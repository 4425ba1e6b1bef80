#include "batch_norm/generic.h"

#define DTRAIN_KERNELS "batch_norm/kernels.inc"
#include "simd/instances.h"
