#include "rank_order/generic.h"

namespace dtrain {

rank_order_reduce_fn<float>* const rank_order_reduce_f32_avx2 = rank_order_reduce<float>;
rank_order_reduce_fn<double>* const rank_order_reduce_f64_avx2 = rank_order_reduce<double>;
rank_order_reduce_fn<Float16>* const rank_order_reduce_f16_avx2 = rank_order_reduce<Float16>;
rank_order_reduce_fn<BFloat16>* const rank_order_reduce_bf16_avx2 = rank_order_reduce<BFloat16>;
rank_order_reduce_fn<std::int64_t>* const rank_order_reduce_s64_avx2 = rank_order_reduce<std::int64_t>;
rank_order_reduce_fn<std::int32_t>* const rank_order_reduce_s32_avx2 = rank_order_reduce<std::int32_t>;
rank_order_reduce_fn<std::int16_t>* const rank_order_reduce_s16_avx2 = rank_order_reduce<std::int16_t>;
rank_order_reduce_fn<std::int8_t>* const rank_order_reduce_s8_avx2 = rank_order_reduce<std::int8_t>;
rank_order_reduce_fn<std::uint8_t>* const rank_order_reduce_u8_avx2 = rank_order_reduce<std::uint8_t>;
rank_order_reduce_fn<bool>* const rank_order_reduce_bool_avx2 = rank_order_reduce<bool>;

}  // namespace dtrain
