// Every operation of core/operations.def with checks of its arguments: if shapes, dtypes or devices do not match, an
// Error names the operation, what was expected and what came. Otherwise it is enqueued. Outputs are arguments.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace mora::operations {

/// See CodedMatrix of core/backend.h.
struct CodedTensors {
  Tensor codes, table, scales, zeros, groups, scaleTable, scaleScales;
  CodeLayout layout;
};

// The types of parameters of core/operations.def here. An absent Optional is an empty Tensor.
using In = const Tensor&;
using Out = const Tensor&;
using InOut = const Tensor&;
using Blocks = const Tensor&;
using Coded = const CodedTensors&;
using Optional = const Tensor&;
using Tensors = const std::vector<Tensor>&;
using Flag = bool;
using Real = double;
using Factor = double;

#define MORA_OPERATION(name, ...) void name(__VA_ARGS__);
#include "core/operations.def"

/// Whether the device implements an operation for inputs of these float or block dtypes, in any order. Throws Error for
/// an unknown operation.
bool supports(const Device& device, std::string_view operation, const std::vector<DType>& dtypes);

/// See Backend::foldedSide.
int64_t foldedSide(SectionPlan plan, DType dtype, const Device& device);

}  // namespace mora::operations
