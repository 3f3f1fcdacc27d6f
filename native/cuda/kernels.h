// The operations of the CUDA backend: one launcher per operation of core/operations.def under the same name. They
// enqueue onto the context's stream and return; an absent argument has a null `data`. Every tensor is in device memory.
#pragma once
#include "core/backend.h"
#include "cuda/runtime/context.h"

namespace mora::cuda {

#define MORA_OPERATION(name, ...) void name(Context& context, __VA_ARGS__);
#include "core/operations.def"

/// See Backend::foldedSide.
int64_t foldedSide(SectionPlan plan, DType dtype);
/// For matmul: target [rows, columns] = (accumulate ? target : 0) + scale a b for a single element b of a's dtype.
void multiplyByElement(Context& context, TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate);

}  // namespace mora::cuda
