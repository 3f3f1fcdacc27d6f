// What a step of AdamW multiplies with, the same on every backend.
#pragma once
#include <cmath>

#include "core/backend.h"

namespace mora {

/// Rounded to f32 once: 1 - beta2 of a beta2 that was rounded before would be off by 6e-6 of itself.
struct AdamWFactors {
  float keep1, add1, keep2, add2, decay, stepSize, rootFactor, epsilon;

  explicit AdamWFactors(const AdamWStep& step)
      : keep1(static_cast<float>(step.beta1)),
        add1(static_cast<float>(1 - step.beta1)),
        keep2(static_cast<float>(step.beta2)),
        add2(static_cast<float>(1 - step.beta2)),
        decay(static_cast<float>(1 - step.learningRate * step.weightDecay)),
        stepSize(static_cast<float>(step.learningRate / step.biasCorrection1)),
        rootFactor(static_cast<float>(1 / std::sqrt(step.biasCorrection2))),
        epsilon(static_cast<float>(step.epsilon)) {}
};

}  // namespace mora
