// Checks a packed batch's offsets, which only the device can read.
#pragma once
#include "core/backend.h"
#include "cuda/runtime/context.h"

namespace mora::cuda {

/// Reports offsets [B + 1] of attention that do not rise from 0 to the rows of q, or exceed those of k (a cache may
/// have more). Attention's kernels stay inside their tensors in any case.
void requireOffsets(Context& context, TensorDesc queryOffsets, TensorDesc keyOffsets, int64_t queries, int64_t keys);

/// Reports offsets [B + 1] of an operation that do not rise from 0 to `rows`.
void requireOffsets(Context& context, Operation operation, TensorDesc offsets, int64_t rows);

}  // namespace mora::cuda
