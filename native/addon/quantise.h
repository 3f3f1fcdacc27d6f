// Quantising values that JavaScript holds, at once. See lib/native/addon.ts.
#pragma once
#include <napi.h>

namespace mora::addon {

/// quantise(dtype, values, columns, importance, threads): the bytes of blocks.
Napi::Value quantise(const Napi::CallbackInfo& info);
/// quantiseNf4(values, threads): { codes, scales, table }.
Napi::Value quantiseNf4(const Napi::CallbackInfo& info);

}  // namespace mora::addon
