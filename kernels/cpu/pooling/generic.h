// Pooling over a vector type.
#pragma once

#include "pooling/average_pool.h"
#include "pooling/max_pool.h"
