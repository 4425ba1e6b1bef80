#include "formula/generic.h"

#define DTRAIN_KERNELS "formula/kernels.inc"
#include "simd/instances.h"
