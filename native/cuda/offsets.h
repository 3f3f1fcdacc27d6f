// The check of a packed batch's offsets, which only the device can read.
#pragma once
#include "core/backend.h"
#include "cuda/runtime/context.h"

namespace mora::cuda {

/// Reports (for attention) offsets [B + 1] that do not rise from 0 to the rows of q, or lead past those of k (a cache
/// may hold more). Attention's kernels stay inside their tensors anyway.
void requireOffsets(Context& context, TensorDesc queryOffsets, TensorDesc keyOffsets, int64_t queries, int64_t keys);

/// Reports, for an operation, offsets [B + 1] that do not rise from 0 to `rows`.
void requireOffsets(Context& context, Operation operation, TensorDesc offsets, int64_t rows);

}  // namespace mora::cuda
