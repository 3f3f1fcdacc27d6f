// Adding a bias to rows, and its gradient: sums over rows.
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/layers/row_chunks.h"
#include "cpu/parallel.h"
#include "cpu/stored/convert.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layers/bias.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

void AddBiasRows(const float* bias, const TensorDesc& y, int64_t begin, int64_t end) {
  withFloatType(y.dtype, "addBias", [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) {
      auto* const values = rowOf<decltype(type)>(y, row);
      forVectors(columnsOf(y), [&](int64_t i, auto part) HWY_ATTR {
        store(hn::Add(load(values + i, part), load(bias + i, part)), values + i, part);
      });
    }
  });
}

void SumRows(const TensorDesc& x, int64_t begin, int64_t end, float* sums) {
  withFloatType(x.dtype, "columnSums", [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) addTo(sums, rowOf<const decltype(type)>(x, row), columnsOf(x));
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(AddBiasRows);
HWY_EXPORT(SumRows);

void addBias(TensorDesc bias, TensorDesc y) {
  const int64_t columns = columnsOf(y);
  Scratch scratch;
  auto* const values = scratch.take<float>(columns);
  convertRow(bias.dtype, bias.data, DType::f32, values, columns);
  parallelRanges(y.shape[0], columns, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(AddBiasRows)(values, y, begin, end);
  });
}

void columnSums(TensorDesc x, TensorDesc sums, bool accumulate) {
  const std::array targets{static_cast<float*>(sums.data)};
  sumRowChunks(x.shape[0], columnsOf(x), targets, accumulate, [&](int64_t begin, int64_t end, const auto& partials) {
    HWY_DYNAMIC_DISPATCH(SumRows)(x, begin, end, partials[0]);
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
