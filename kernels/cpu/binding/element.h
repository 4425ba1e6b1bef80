// Element types of kernels: the registry's tag and NumPy's type number of each, and the two short floats.
#pragma once

#include <cstdint>

namespace dtrain {

// Storage only; kernels widen them to float.
struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

// NumPy has no bfloat16 of its own: ml_dtypes registers one at run time and Python tells us its number.
extern int bfloat16_type_number;

template <typename T>
struct Element;

#define DTRAIN_ELEMENT(type, name, test)                           \
  template <>                                                      \
  struct Element<type> {                                           \
    static constexpr const char* tag = name;                       \
    static bool is(int number) { return test; } \
  };
// The numbers are NumPy's NPY_TYPES, which are part of its stable ABI; a 64-bit integer may be `long` or `long long`.
DTRAIN_ELEMENT(bool, "bool", number == 0)
DTRAIN_ELEMENT(std::int8_t, "s8", number == 1)
DTRAIN_ELEMENT(std::uint8_t, "u8", number == 2)
DTRAIN_ELEMENT(std::int16_t, "s16", number == 3)
DTRAIN_ELEMENT(std::int32_t, "s32", number == 5 || (number == 7 && sizeof(long) == 4))
DTRAIN_ELEMENT(std::int64_t, "s64", number == 9 || (number == 7 && sizeof(long) == 8))
DTRAIN_ELEMENT(Float16, "f16", number == 23)
DTRAIN_ELEMENT(BFloat16, "bf16", number == bfloat16_type_number)
DTRAIN_ELEMENT(float, "f32", number == 11)
DTRAIN_ELEMENT(double, "f64", number == 12)
#undef DTRAIN_ELEMENT

}  // namespace dtrain
