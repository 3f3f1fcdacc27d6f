#include "addon/quantise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "addon/environment.h"
#include "addon/objects.h"
#include "core/error.h"
#include "quantise/quantise.h"

namespace mora::addon {
namespace {

/// Throws for values that scales, which are float16 in most formats, cannot represent.
void requireRange(std::span<const float> values, float most, const char* format) {
  for (const float value : values) {
    if (std::fabs(value) <= most) continue;
    throw Error("non-finite", "A value is " + std::to_string(value) + ", which " + format + " cannot hold.");
  }
}

}  // namespace

Napi::Value quantise(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const DType type = dtypeFromName(info.Env(), info[0]);
    const int64_t columns = integer(info[2], "columns");
    const int32_t threads = smallInteger(info[4], "threads");
    const DTypeTraits traits = traitsOf(type);
    if (!quantise::isWritten(type))
      throw Error("unsupported-dtype", std::string("Values cannot be quantised to ") + traits.name + ".");
    const auto length = [&] { return static_cast<int64_t>(floatsOf(info[1], "values").size()); };
    if (columns < 1 || columns % traits.blockSize != 0 || length() % columns != 0)
      throw Error("invalid-argument", "quantise: expected rows of whole blocks, but " + std::to_string(length()) +
                                          " values in rows of " + std::to_string(columns) + " are none.");
    Napi::Uint8Array blocks = Napi::Uint8Array::New(info.Env(), bytesFor(type, length()));
    const float* importance = nullptr;
    if (!info[3].IsNull() && !info[3].IsUndefined()) {
      const std::span<const float> given = floatsOf(info[3], "importance");
      const bool isSound = std::all_of(given.begin(), given.end(), [](float x) { return std::isfinite(x) && x >= 0; });
      if (static_cast<int64_t>(given.size()) != columns || !isSound)
        throw Error("invalid-argument", "quantise: expected a finite importance of at least 0 for each column.");
      importance = given.data();
    }
    const std::span<const float> values = floatsOf(info[1], "values");
    requireRange(values, type == DType::mxfp4 ? std::numeric_limits<float>::max() : 65504.0f, traits.name);
    quantise::writeBlocks(type, values.data(), static_cast<int64_t>(values.size()) / columns, columns, importance,
                          threads, blocks.Data());
    return blocks;
  });
}

Napi::Value quantiseNf4(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int32_t threads = smallInteger(info[1], "threads");
    const size_t count = floatsOf(info[0], "values").size();
    if (count % 2 != 0) throw Error("invalid-argument", "quantiseNf4: expected an even number of values.");
    Napi::Uint8Array codes = Napi::Uint8Array::New(info.Env(), count / 2);
    Napi::Float32Array scales =
        Napi::Float32Array::New(info.Env(), (count + quantise::kNf4Block - 1) / quantise::kNf4Block);
    Napi::Float32Array table = Napi::Float32Array::New(info.Env(), std::size(quantise::kNf4Values));
    std::copy_n(quantise::kNf4Values, std::size(quantise::kNf4Values), table.Data());
    const std::span<const float> values = floatsOf(info[0], "values");
    requireRange(values, std::numeric_limits<float>::max(), "nf4");
    quantise::writeNf4(values.data(), static_cast<int64_t>(count), threads, codes.Data(), scales.Data());
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("codes", codes);
    result.Set("scales", scales);
    result.Set("table", table);
    return result;
  });
}

}  // namespace mora::addon
