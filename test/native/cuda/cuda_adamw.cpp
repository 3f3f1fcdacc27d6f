// AdamW of CUDA over lists of tensors, the norm of gradients and its clipping, against float64.
#include <memory>

#include "cuda/kernels.h"
#include "cuda_fixture.h"

using namespace mora;
using namespace mora::test;

namespace {

/// A trained tensor in device memory and in float64.
struct Trained {
  Values parameter, gradient, firstMoment, secondMoment;
  DeviceTensor deviceParameter, deviceGradient, deviceFirstMoment, deviceSecondMoment;

  Trained(int64_t count, unsigned seed, int64_t offset)
      : parameter(normal(DType::f32, count, seed)),
        gradient(normal(DType::f32, count, seed + 1)),
        firstMoment(normal(DType::f32, count, seed + 2, 0.1)),
        secondMoment(normal(DType::f32, count, seed + 3, 0.1)),
        deviceParameter(DType::f32, {count}, parameter),
        deviceGradient(DType::f32, {count}, gradient, {offset, 0}),
        deviceFirstMoment(DType::f32, {count}, firstMoment),
        deviceSecondMoment(DType::f32, {count}, absolute(secondMoment), {offset, 0}) {}

  static Values& absolute(Values& values) {
    for (double& value : values) value = std::abs(value);
    return values;
  }

  /// arXiv 1711.05101, Algorithm 2, with the bias corrections inside.
  void step(const AdamWStep& step, double scale) {
    for (size_t i = 0; i < parameter.size(); ++i) {
      const double g = gradient[i] * scale;
      firstMoment[i] = step.beta1 * firstMoment[i] + (1.0 - step.beta1) * g;
      secondMoment[i] = step.beta2 * secondMoment[i] + (1.0 - step.beta2) * g * g;
      const double root = std::sqrt(secondMoment[i] / step.biasCorrection2) + step.epsilon;
      parameter[i] -=
          step.learningRate * (step.weightDecay * parameter[i] + firstMoment[i] / step.biasCorrection1 / root);
    }
  }
};

std::vector<std::unique_ptr<Trained>> trainedList() {
  std::vector<std::unique_ptr<Trained>> list;
  unsigned seed = 1;
  for (const int64_t count : {5, 0, 8192, 1, 20000, 0, 64})
    for (const int64_t offset : {0, 1}) list.push_back(std::make_unique<Trained>(count, seed += 10, offset));
  return list;
}

struct Lists {
  std::vector<TensorDesc> parameters, gradients, firstMoments, secondMoments;

  explicit Lists(const std::vector<std::unique_ptr<Trained>>& list) {
    for (const auto& trained : list) {
      parameters.push_back(trained->deviceParameter.desc());
      gradients.push_back(trained->deviceGradient.desc());
      firstMoments.push_back(trained->deviceFirstMoment.desc());
      secondMoments.push_back(trained->deviceSecondMoment.desc());
    }
  }
  static TensorList of(const std::vector<TensorDesc>& tensors) {
    return {tensors.data(), static_cast<int64_t>(tensors.size())};
  }
  void step(cuda::Context& context, const AdamWStep& step, const DeviceTensor& scale) const {
    cuda::adamw(context, of(parameters), of(gradients), of(firstMoments), of(secondMoments), step, scale);
  }
};

bool holds(const Trained& trained) {
  return close("parameter", DType::f32, trained.deviceParameter.get(), trained.parameter) &&
         close("first moment", DType::f32, trained.deviceFirstMoment.get(), trained.firstMoment) &&
         close("second moment", DType::f32, trained.deviceSecondMoment.get(), trained.secondMoment) &&
         CHECK(trained.deviceGradient.get() == trained.gradient);
}

void steps(cuda::Context& context) {
  const auto list = trainedList();
  const Lists lists(list);
  const AdamWStep step{1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.271f, 0.142625f};
  const DeviceTensor scale(DType::f32, {1}, {0.25});
  lists.step(context, step, scale);
  for (const auto& trained : list) {
    trained->step(step, 0.25);
    CHECK(holds(*trained));
  }
  for (const double skipped : {double{NAN}, double{INFINITY}}) {
    std::vector<Values> before;
    for (const auto& trained : list) before.push_back(trained->deviceParameter.get());
    scale.set({skipped});
    lists.step(context, step, scale);
    for (size_t i = 0; i < list.size(); ++i) CHECK(list[i]->deviceParameter.get() == before[i]);
  }
  Lists({}).step(context, step, scale);
}

void norms(cuda::Context& context) {
  const auto list = trainedList();
  const Lists lists(list);
  double squares = 0;
  for (const auto& trained : list)
    for (const double g : trained->gradient) squares += g * g;
  const DeviceTensor norm(DType::f32, {1}, {7});
  cuda::globalNorm(context, Lists::of(lists.gradients), norm);
  CHECK(close("norm", DType::f32, norm.get(), {std::sqrt(squares)}, 1e-9));
  cuda::globalNorm(context, {}, norm);
  CHECK(norm.get()[0] == 0);
}

void clips(cuda::Context& context) {
  const DeviceTensor norm(DType::f32, {1}, {8}), scale(DType::f32, {1}, {7});
  const auto scaleOf = [&](double length, float gradientScale, float maxNorm) {
    norm.set({length});
    cuda::clipScale(context, norm, gradientScale, maxNorm, scale);
    return scale.get();
  };
  CHECK(close("clipped", DType::f32, scaleOf(8, 0.5f, 1), {0.5 / (4 + 1e-6)}));
  CHECK(scaleOf(8, 0.5f, 5)[0] == 0.5);
  CHECK(scaleOf(8, 0.5f, 0)[0] == 0.5);
  CHECK(std::isnan(scaleOf(INFINITY, 0.5f, 1)[0]));
  CHECK(std::isnan(scaleOf(NAN, 0.5f, 0)[0]));
}

}  // namespace

int main() {
  TestContext test;
  steps(test.context);
  norms(test.context);
  clips(test.context);
  return finish();
}
