// Draws random numbers for JavaScript, synchronously. See lib/native/addon.ts.
#pragma once
#include <napi.h>

namespace mora::addon {

/// drawUniform(values, key0, key1, first, bound).
void drawUniform(const Napi::CallbackInfo& info);

}  // namespace mora::addon
