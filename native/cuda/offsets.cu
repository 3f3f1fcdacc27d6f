#include "cuda/offsets.h"

#include "core/operation_table.h"
#include "cuda/index_report.h"
#include "cuda/tensor_view.h"

namespace mora::cuda {
namespace {

constexpr unsigned kThreads = 256;

struct Offsets {
  const int32_t* values;
  int64_t count, rows;
  bool rowsMayRemain;

  __device__ __forceinline__ bool hold(int64_t i) const {
    const int32_t offset = values[i];
    const bool rises = i == 0 ? offset == 0 : offset >= values[i - 1];
    const bool last = i + 1 == count;
    return rises && (!last || (rowsMayRemain ? offset <= rows : offset == rows));
  }
};

/// Checks that offsets [count] rise from 0 to their number of rows, and reports one that does not. One block for each
/// of up to two lists; reads 8 bytes for each offset.
__global__ void checkOffsets(Operation operation, Offsets first, Offsets second, DeviceReport* report) {
  const Offsets offsets = blockIdx.x == 0 ? first : second;
  for (int64_t i = threadIdx.x; i < offsets.count; i += kThreads) {
    if (!offsets.hold(i)) reportIndex(report, operation, i, offsets.values[i], offsets.rows);
  }
}

Offsets offsetsOf(const TensorDesc& tensor, int64_t rows, bool rowsMayRemain) {
  return {static_cast<const int32_t*>(tensor.data), tensor.shape[0], rows, rowsMayRemain};
}

}  // namespace

void requireOffsets(Context& context, TensorDesc queryOffsets, TensorDesc keyOffsets, int64_t queries, int64_t keys) {
  expectCost(bytesOf(queryOffsets) + bytesOf(keyOffsets), 0);
  launch(checkOffsets, dim3(2), dim3(kThreads), 0, context.stream, Operation::attention,
         offsetsOf(queryOffsets, queries, false), offsetsOf(keyOffsets, keys, true), context.report);
  checkLaunch("attention");
}

void requireOffsets(Context& context, Operation operation, TensorDesc offsets, int64_t rows) {
  expectCost(bytesOf(offsets), 0);
  launch(checkOffsets, dim3(1), dim3(kThreads), 0, context.stream, operation, offsetsOf(offsets, rows, false),
         Offsets{}, context.report);
  checkLaunch(nameOf(operation));
}

}  // namespace mora::cuda
