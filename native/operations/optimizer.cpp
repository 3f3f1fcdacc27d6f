// The optimizer's step, and checks of gradients and values.
#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

namespace {

/// Checks a list that goes with `gradients`: dense f32 tensors with the same numbers of elements.
std::vector<TensorDesc> listOf(Check& check, const char* name, Tensors tensors, Tensors gradients) {
  if (tensors.size() != gradients.size())
    throw Error("invalid-argument", std::string(check.operation()) + ": expected " + std::to_string(gradients.size()) +
                                        " " + name + " but received " + std::to_string(tensors.size()) + ".");
  std::vector<TensorDesc> list;
  for (size_t i = 0; i < tensors.size(); ++i) {
    check.tensor(name, tensors[i]).dtype(DType::f32).dense();
    const int64_t count = gradients[i].elements();
    check.that(tensors[i].elements() == count, [&] { return std::to_string(count) + " elements"; });
    list.push_back(tensors[i].desc());
  }
  return list;
}

TensorList descriptorsOf(const std::vector<TensorDesc>& list) {
  return {list.data(), static_cast<int64_t>(list.size())};
}

}  // namespace

void globalNorm(Tensors gradients, Out norm) {
  Check check("globalNorm");
  check.tensor("norm", norm).shape({1}).dtype(DType::f32);
  const auto list = listOf(check, "gradients", gradients, gradients);
  check.enqueue(&Backend::globalNorm, descriptorsOf(list), norm);
}

void clipScale(In norm, Real gradientScale, Real maxNorm, Out scale) {
  Check check("clipScale");
  check.tensor("norm", norm).shape({1}).dtype(DType::f32);
  check.tensor("scale", scale).shape({1}).dtype(DType::f32);
  check.enqueue(&Backend::clipScale, norm, gradientScale, maxNorm, scale);
}

void adamw(Tensors parameters, Tensors gradients, Tensors firstMoments, Tensors secondMoments, AdamWStep step,
           In scale) {
  Check check("adamw");
  check.tensor("scale", scale).shape({1}).dtype(DType::f32);
  const auto gradientList = listOf(check, "gradients", gradients, gradients);
  const auto parameterList = listOf(check, "parameters", parameters, gradients);
  const auto firstList = listOf(check, "firstMoments", firstMoments, gradients);
  const auto secondList = listOf(check, "secondMoments", secondMoments, gradients);
  check.enqueue(&Backend::adamw, descriptorsOf(parameterList), descriptorsOf(gradientList), descriptorsOf(firstList),
                descriptorsOf(secondList), step, scale);
}

void countNonFinite(In x, Out count, Flag accumulate) {
  Check check("countNonFinite");
  check.tensor("x", x).floats().dense();
  check.tensor("count", count).shape({1}).dtype(DType::i32);
  check.enqueue(&Backend::countNonFinite, x, count, accumulate);
}

void largestDifference(In a, In b, Out largest, Flag accumulate) {
  Check check("largestDifference");
  check.tensor("a", a).floats().dense();
  check.tensor("b", b).sameShape(a).dtype(a.dtype()).dense();
  check.tensor("largest", largest).shape({1}).dtype(DType::f32);
  check.enqueue(&Backend::largestDifference, a, b, largest, accumulate);
}

}  // namespace mora::operations
