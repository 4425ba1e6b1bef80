#include "rank_order/generic.h"

#define DTRAIN_OVER(type) type
#define DTRAIN_KERNELS "rank_order/kernels.inc"
#include "simd/instances.h"
