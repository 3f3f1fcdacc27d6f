#include "cpu/stored/dequantise.h"

#include "cpu/float_types.h"
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
template <DType Type, typename T, void Unpack(const uint8_t*, T*)>
void unpackAll(const uint8_t* blocks, int64_t count, T* values) {
  constexpr DTypeTraits traits = traitsOf(Type);
  for (int64_t i = 0; i < count; i += traits.blockSize, blocks += traits.blockBytes) Unpack(blocks, values + i);
}

template <typename T>
void unpackBlocks(DType type, const uint8_t* blocks, int64_t count, T* values) {
  switch (type) {
    case DType::q4_0:
      return unpackAll<DType::q4_0, T, unpackQ4_0>(blocks, count, values);
    case DType::q4_1:
      return unpackAll<DType::q4_1, T, unpackQ4_1>(blocks, count, values);
    case DType::q5_0:
      return unpackAll<DType::q5_0, T, unpackQ5_0>(blocks, count, values);
    case DType::q5_1:
      return unpackAll<DType::q5_1, T, unpackQ5_1>(blocks, count, values);
    case DType::q8_0:
      return unpackAll<DType::q8_0, T, unpackQ8_0>(blocks, count, values);
    case DType::q2_k:
      return unpackAll<DType::q2_k, T, unpackQ2K>(blocks, count, values);
    case DType::q3_k:
      return unpackAll<DType::q3_k, T, unpackQ3K>(blocks, count, values);
    case DType::q4_k:
      return unpackAll<DType::q4_k, T, unpackQ4K>(blocks, count, values);
    case DType::q5_k:
      return unpackAll<DType::q5_k, T, unpackQ5K>(blocks, count, values);
    case DType::q6_k:
      return unpackAll<DType::q6_k, T, unpackQ6K>(blocks, count, values);
    case DType::iq4_nl:
      return unpackAll<DType::iq4_nl, T, unpackIq4Nl>(blocks, count, values);
    case DType::iq4_xs:
      return unpackAll<DType::iq4_xs, T, unpackIq4Xs>(blocks, count, values);
    case DType::mxfp4:
      return unpackAll<DType::mxfp4, T, unpackMxfp4>(blocks, count, values);
    case DType::tq1_0:
      return unpackAll<DType::tq1_0, T, unpackTq1_0>(blocks, count, values);
    case DType::tq2_0:
      return unpackAll<DType::tq2_0, T, unpackTq2_0>(blocks, count, values);
    default:
      unsupported(std::string("dequantising ") + traitsOf(type).name);
  }
}

void UnpackBlocks(DType type, const uint8_t* blocks, int64_t count, DType targetType, void* values) {
  withFloatType(targetType, "dequantise",
                [&](auto to) { unpackBlocks(type, blocks, count, static_cast<decltype(to)*>(values)); });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(UnpackBlocks);

namespace {

/// Start of a row, counted over all leading dimensions; strides count values, also in block formats.
std::byte* rowAt(const TensorDesc& tensor, int64_t row) {
  int64_t offset = 0;
  for (int32_t d = tensor.rank - 2; d >= 0; --d) {
    offset += row % tensor.shape[d] * tensor.strides[d];
    row /= tensor.shape[d];
  }
  const DTypeTraits traits = traitsOf(tensor.dtype);
  return static_cast<std::byte*>(tensor.data) + offset / traits.blockSize * traits.blockBytes;
}

}  // namespace

void dequantiseRow(DType type, const void* blocks, int64_t count, DType targetType, void* values) {
  if (isFloat(type)) return convertRow(type, blocks, targetType, values, count);
  HWY_DYNAMIC_DISPATCH(UnpackBlocks)(type, static_cast<const uint8_t*>(blocks), count, targetType, values);
}

void dequantise(TensorDesc source, TensorDesc target) {
  if (!isQuantised(source.dtype)) return copy(source, target, 1);
  const int64_t columns = columnsOf(source);
  if (columns == 0) return;
  if (target.rank > 0 && columns > 1 && target.strides[target.rank - 1] != 1)
    unsupported("dequantise into rows that are not contiguous");
  parallelRanges(elementsOf(source) / columns, columns, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      dequantiseRow(source.dtype, rowAt(source, row), columns, target.dtype, rowAt(target, row));
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
