#include "layer_norm/generic.h"

#define DTRAIN_KERNELS "layer_norm/kernels.inc"
#include "simd/instances.h"
