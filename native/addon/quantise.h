// Quantises values that JavaScript holds, synchronously. See lib/native/addon.ts.
#pragma once
#include <napi.h>

namespace mora::addon {

/// quantise(dtype, values, columns, importance, threads): the bytes of the blocks.
Napi::Value quantise(const Napi::CallbackInfo& info);
/// quantiseNf4(values, threads): { codes, scales, table }.
Napi::Value quantiseNf4(const Napi::CallbackInfo& info);

}  // namespace mora::addon
