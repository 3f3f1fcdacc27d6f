#include "addon/random.h"

#include "addon/environment.h"
#include "addon/objects.h"
#include "core/error.h"
#include "core/math/philox.h"

namespace mora::addon {

void drawUniform(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const auto key0 = static_cast<uint32_t>(wholeNumber(info[1], "key0"));
    const auto key1 = static_cast<uint32_t>(wholeNumber(info[2], "key1"));
    const auto first = static_cast<uint64_t>(wholeNumber(info[3], "first"));
    if (!info[4].IsNumber()) throw Error("invalid-argument", "drawUniform: expected a number for bound.");
    const double bound = info[4].As<Napi::Number>().DoubleValue();
    const std::span<float> values = floatsOf(info[0], "values");
    philoxUniforms(values.data(), values.size(), key0, key1, first, bound);
  });
}

}  // namespace mora::addon
