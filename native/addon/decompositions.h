// Decompositions of matrices that JavaScript holds. See lib/native/addon.ts.
#pragma once
#include <napi.h>

namespace mora::addon {

/// svd(values, rows, columns, vectors): a promise, computed on a thread of libuv's pool.
Napi::Value svd(const Napi::CallbackInfo& info);
/// orthonormalColumns(values, rows, columns): the matrix, computed synchronously.
Napi::Value orthonormalColumns(const Napi::CallbackInfo& info);

}  // namespace mora::addon
