#include "cpu/stored/convert.h"

#include <cstring>

#include "cpu/float_types.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/stored/convert.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

template <typename S, typename T>
void convertTyped(const S* source, T* target, int64_t count, float scale, bool accumulate) {
  const FloatVector factor = broadcast(scale);
  if (accumulate) {
    forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
      store(hn::MulAdd(factor, load(source + i, part), load(target + i, part)), target + i, part);
    });
  } else {
    forVectors(count, [&](int64_t i, auto part)
                          HWY_ATTR { store(hn::Mul(factor, load(source + i, part)), target + i, part); });
  }
}

void ConvertRow(DType sourceType, const void* source, DType targetType, void* target, int64_t count, float scale,
                bool accumulate) {
  withFloatType(sourceType, "copy", [&](auto from) HWY_ATTR {
    withFloatType(targetType, "copy", [&](auto to) HWY_ATTR {
      convertTyped(static_cast<const decltype(from)*>(source), static_cast<decltype(to)*>(target), count, scale,
                   accumulate);
    });
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(ConvertRow);

void convertRow(DType sourceType, const void* source, DType targetType, void* target, int64_t count, float scale,
                bool accumulate) {
  if (count <= 0) return;
  if (sourceType == targetType && scale == 1.0f && !accumulate) {
    if (source != target) std::memcpy(target, source, static_cast<size_t>(count * traitsOf(sourceType).blockBytes));
    return;
  }
  HWY_DYNAMIC_DISPATCH(ConvertRow)(sourceType, source, targetType, target, count, scale, accumulate);
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
