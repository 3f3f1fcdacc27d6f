// Tensors and factors of a step of AdamW, the same on every backend.
#pragma once
#include <cmath>
#include <vector>

#include "core/descriptor.h"

namespace mora {

/// A trained tensor, its gradient and moments: `count` dense float32 elements each.
struct AdamWTensor {
  float* parameter;
  const float* gradient;
  float* firstMoment;
  float* secondMoment;
  int64_t count;
};

/// Zips the lists; an empty list gives null pointers.
inline std::vector<AdamWTensor> trainedTensors(const TensorList& parameters, const TensorList& gradients,
                                               const TensorList& firstMoments, const TensorList& secondMoments) {
  std::vector<AdamWTensor> list(static_cast<size_t>(gradients.count));
  const auto data = [](const TensorList& of, size_t i) {
    return of.count == 0 ? nullptr : static_cast<float*>(of.tensors[i].data);
  };
  for (size_t i = 0; i < list.size(); ++i)
    list[i] = {data(parameters, i), data(gradients, i), data(firstMoments, i), data(secondMoments, i),
               elementsOf(gradients.tensors[i])};
  return list;
}

/// Factors of the update, rounded to f32 once: 1 - beta2 of an already rounded beta2 would have a relative error of
/// 6e-6.
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
