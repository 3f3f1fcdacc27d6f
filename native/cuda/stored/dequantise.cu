// Converts the block formats of GGUF to floats.
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/stored/dequantise_long_blocks.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr int kValues = 8;  // per thread
template <DType Type>
constexpr int kBlockSize = traitsOf(Type).blockSize;
template <DType Type>
constexpr int kBlockBytes = traitsOf(Type).blockBytes;

/// target [rows, columns] = values of rows of `rowBytes` each. A thread unpacks eight neighbouring values; a warp's 256
/// share one long block or eight short ones, which it reads through the cache. Reads the blocks and writes the values.
template <DType Type, typename T, int N>
__global__ void unpackRows(const uint8_t* source, int64_t rowBytes, Rows<T> target, int64_t rows, int64_t columns) {
  forPieces(rows, columns / kValues, [&](int64_t row, int64_t piece) {
    const int64_t column = piece * kValues;
    const uint8_t* const block = source + row * rowBytes + column / kBlockSize<Type> * kBlockBytes<Type>;
    float values[kValues];
    unpackEight<Type>(block, static_cast<int>(column % kBlockSize<Type>), values);
    T* const to = target.at(row) + column;
    if constexpr (N == kValues) {
      store(values, to);
    } else {
#pragma unroll
      for (int i = 0; i < kValues; ++i) to[i] = fromFloat<T>(values[i]);
    }
  });
}

/// Calls body(std::integral_constant<DType, Type>{}) with a block format.
template <typename Body>
void withBlockType(DType type, Body&& body) {
  switch (type) {
    case DType::q4_0:
      return body(std::integral_constant<DType, DType::q4_0>{});
    case DType::q4_1:
      return body(std::integral_constant<DType, DType::q4_1>{});
    case DType::q5_0:
      return body(std::integral_constant<DType, DType::q5_0>{});
    case DType::q5_1:
      return body(std::integral_constant<DType, DType::q5_1>{});
    case DType::q8_0:
      return body(std::integral_constant<DType, DType::q8_0>{});
    case DType::q2_k:
      return body(std::integral_constant<DType, DType::q2_k>{});
    case DType::q3_k:
      return body(std::integral_constant<DType, DType::q3_k>{});
    case DType::q4_k:
      return body(std::integral_constant<DType, DType::q4_k>{});
    case DType::q5_k:
      return body(std::integral_constant<DType, DType::q5_k>{});
    case DType::q6_k:
      return body(std::integral_constant<DType, DType::q6_k>{});
    case DType::iq4_nl:
      return body(std::integral_constant<DType, DType::iq4_nl>{});
    case DType::iq4_xs:
      return body(std::integral_constant<DType, DType::iq4_xs>{});
    case DType::mxfp4:
      return body(std::integral_constant<DType, DType::mxfp4>{});
    case DType::tq1_0:
      return body(std::integral_constant<DType, DType::tq1_0>{});
    case DType::tq2_0:
      return body(std::integral_constant<DType, DType::tq2_0>{});
    default:
      unsupported(std::string("dequantising ") + traitsOf(type).name);
  }
}

/// Unpacks rows that are `rowBytes` apart into a [rows, columns] view.
void unpack(Context& context, DType type, const uint8_t* source, int64_t rowBytes, const TensorDesc& target) {
  const int64_t rows = target.shape[0], columns = target.shape[1];
  expectCost(bytesFor(type, rows * columns), bytesOf(target));
  withBlockType(type, [&](auto blockType) {
    withFloatType(target.dtype, "dequantise", [&](auto to) {
      withWidth<kValues>(rowsFit(target, kValues), [&](auto width) {
        using T = decltype(to);
        launchPieces(unpackRows<decltype(blockType)::value, T, width>, rows, columns / kValues, context.stream, source,
                     rowBytes, rowsOf<T>(target), rows, columns);
      });
    });
  });
  checkLaunch("dequantise");
}

}  // namespace

void dequantise(Context& context, TensorDesc source, TensorDesc target) {
  if (!isQuantised(source.dtype)) return copy(context, source, target, 1);
  const int64_t columns = columnsOf(source), elements = elementsOf(source);
  if (elements == 0) return;
  const auto* data = static_cast<const uint8_t*>(source.data);
  const auto bytesOfRow = [&](int64_t values) { return static_cast<int64_t>(bytesFor(source.dtype, values)); };
  if (target.rank == 2) return unpack(context, source.dtype, data, bytesOfRow(source.strides[0]), target);
  TensorDesc matrix = target;
  matrix.rank = 2;
  matrix.shape[1] = columns, matrix.strides[1] = 1;
  if (target.rank < 3 || isDense(target)) {
    matrix.shape[0] = elements / columns;
    matrix.strides[0] = columns;
    return unpack(context, source.dtype, data, bytesOfRow(columns), matrix);
  }
  // A target of more dimensions with gaps is written as matrices of its last two dimensions.
  const int64_t rows = target.shape[target.rank - 2], inner = target.rank == 4 ? target.shape[1] : 1;
  matrix.shape[0] = rows, matrix.strides[0] = target.strides[target.rank - 2];
  for (int64_t i = 0; i < target.shape[0] * inner; ++i, data += bytesFor(source.dtype, rows * columns)) {
    const int64_t offset = i / inner * target.strides[0] + (target.rank == 4 ? i % inner * target.strides[1] : 0);
    matrix.data = static_cast<std::byte*>(target.data) + offset * traitsOf(target.dtype).blockBytes;
    unpack(context, source.dtype, data, bytesOfRow(columns), matrix);
  }
}

}  // namespace mora::cuda
