#include "cpu/stored/dequantise.h"

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/stored/convert.h"
#include "cpu/tensor_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/stored/dequantise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cpu/stored/dequantise_long_blocks-inl.h"
#include "cpu/stored/dequantise_short_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Unpacks `count` values, block after block.
template <DType Type, void Unpack(const uint8_t*, float*)>
void unpackAll(const uint8_t* blocks, int64_t count, float* values) {
  constexpr DTypeTraits traits = traitsOf(Type);
  for (int64_t i = 0; i < count; i += traits.blockSize, blocks += traits.blockBytes) Unpack(blocks, values + i);
}

void UnpackBlocks(DType type, const uint8_t* blocks, int64_t count, float* values) {
  switch (type) {
    case DType::q4_0:
      return unpackAll<DType::q4_0, unpackQ4_0>(blocks, count, values);
    case DType::q4_1:
      return unpackAll<DType::q4_1, unpackQ4_1>(blocks, count, values);
    case DType::q5_0:
      return unpackAll<DType::q5_0, unpackQ5_0>(blocks, count, values);
    case DType::q5_1:
      return unpackAll<DType::q5_1, unpackQ5_1>(blocks, count, values);
    case DType::q8_0:
      return unpackAll<DType::q8_0, unpackQ8_0>(blocks, count, values);
    case DType::q2_k:
      return unpackAll<DType::q2_k, unpackQ2K>(blocks, count, values);
    case DType::q3_k:
      return unpackAll<DType::q3_k, unpackQ3K>(blocks, count, values);
    case DType::q4_k:
      return unpackAll<DType::q4_k, unpackQ4K>(blocks, count, values);
    case DType::q5_k:
      return unpackAll<DType::q5_k, unpackQ5K>(blocks, count, values);
    case DType::q6_k:
      return unpackAll<DType::q6_k, unpackQ6K>(blocks, count, values);
    case DType::iq4_nl:
      return unpackAll<DType::iq4_nl, unpackIq4Nl>(blocks, count, values);
    case DType::iq4_xs:
      return unpackAll<DType::iq4_xs, unpackIq4Xs>(blocks, count, values);
    case DType::mxfp4:
      return unpackAll<DType::mxfp4, unpackMxfp4>(blocks, count, values);
    case DType::tq1_0:
      return unpackAll<DType::tq1_0, unpackTq1_0>(blocks, count, values);
    case DType::tq2_0:
      return unpackAll<DType::tq2_0, unpackTq2_0>(blocks, count, values);
    default:
      unsupported(std::string("dequantising ") + traitsOf(type).name);
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(UnpackBlocks);

namespace {

/// Values that are unpacked before they are rounded to the target's type: they stay in the nearest cache.
constexpr int64_t kPiece = 2048;

/// Start of a row, counted over all leading dimensions; strides count values, of block formats too.
std::byte* rowAt(const TensorDesc& tensor, int64_t row) {
  int64_t offset = 0;
  for (int32_t d = tensor.rank - 2; d >= 0; --d) {
    offset += row % tensor.shape[d] * tensor.strides[d];
    row /= tensor.shape[d];
  }
  const DTypeTraits traits = traitsOf(tensor.dtype);
  return static_cast<std::byte*>(tensor.data) + offset / traits.blockSize * traits.blockBytes;
}

/// Unpacks one row and rounds it, through a buffer, to the target's type.
void unpackRounded(DType sourceType, const std::byte* source, DType targetType, std::byte* target, int64_t columns) {
  const DTypeTraits from = traitsOf(sourceType), to = traitsOf(targetType);
  alignas(64) float values[kPiece];
  for (int64_t column = 0; column < columns; column += kPiece) {
    const int64_t count = std::min(kPiece, columns - column);
    dequantiseRow(sourceType, source + column / from.blockSize * from.blockBytes, count, values);
    convertRow(DType::f32, values, targetType, target + column * to.blockBytes, count);
  }
}

}  // namespace

void dequantiseRow(DType type, const void* blocks, int64_t count, float* values) {
  if (isFloat(type)) return convertRow(type, blocks, DType::f32, values, count);
  HWY_DYNAMIC_DISPATCH(UnpackBlocks)(type, static_cast<const uint8_t*>(blocks), count, values);
}

void dequantise(TensorDesc source, TensorDesc target) {
  if (!isQuantised(source.dtype)) return copy(source, target, 1);
  const int64_t columns = columnsOf(source);
  if (columns == 0) return;
  if (target.rank > 0 && columns > 1 && target.strides[target.rank - 1] != 1)
    unsupported("dequantise into rows that are not contiguous");
  parallelRanges(elementsOf(source) / columns, columns, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const std::byte* const from = rowAt(source, row);
      std::byte* const to = rowAt(target, row);
      if (target.dtype == DType::f32)
        dequantiseRow(source.dtype, from, columns, reinterpret_cast<float*>(to));
      else
        unpackRounded(source.dtype, from, target.dtype, to, columns);
    }
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
