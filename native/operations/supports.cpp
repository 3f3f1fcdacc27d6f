#include <algorithm>

#include "core/operation_table.h"
#include "operations/operations.h"

namespace mora::operations {

bool supports(const Device& device, std::string_view operation, const std::vector<DType>& dtypes) {
  const OperationEntry& entry = operationNamed(operation);
  const bool moves = entry.operation == Operation::fill || entry.operation == Operation::copy;
  const auto taken = [&](DType dtype) {
    return isFloat(dtype) || (isQuantised(dtype) ? entry.takes("Blocks") : moves);
  };
  return std::all_of(dtypes.begin(), dtypes.end(), taken) &&
         device.backend().supports(device.index(), entry.operation, dtypes.data(), static_cast<int32_t>(dtypes.size()));
}

}  // namespace mora::operations
