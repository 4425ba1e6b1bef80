#include "softmax/columns.h"
#include "softmax/generic.h"

#define DTRAIN_KERNELS "softmax/kernels.inc"
#include "simd/instances.h"
