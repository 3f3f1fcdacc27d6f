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
  MORA_ENQUEUE(check, globalNorm, descriptorsOf(list), norm.desc());
}

void clipScale(const Tensor& norm, double gradientScale, double maxNorm, const Tensor& scale) {
  Check check("clipScale");
  check.tensor("norm", norm).shape({1}).dtype(DType::f32);
  check.tensor("scale", scale).shape({1}).dtype(DType::f32);
  MORA_ENQUEUE(check, clipScale, norm.desc(), static_cast<float>(gradientScale), static_cast<float>(maxNorm),
               scale.desc());
}

void adamw(Tensors parameters, Tensors gradients, Tensors firstMoments, Tensors secondMoments, AdamWStep step,
           In scale) {
  Check check("adamw");
  check.tensor("scale", scale).shape({1}).dtype(DType::f32);
  const auto gradientList = listOf(check, "gradients", gradients, gradients);
  const auto parameterList = listOf(check, "parameters", parameters, gradients);
  const auto firstList = listOf(check, "firstMoments", firstMoments, gradients);
  const auto secondList = listOf(check, "secondMoments", secondMoments, gradients);
  MORA_ENQUEUE(check, adamw, descriptorsOf(parameterList), descriptorsOf(gradientList), descriptorsOf(firstList),
               descriptorsOf(secondList), step, scale.desc());
}

void countNonFinite(const Tensor& x, const Tensor& count, bool accumulate) {
  Check check("countNonFinite");
  check.tensor("x", x).floats().dense();
  check.tensor("count", count).shape({1}).dtype(DType::i32);
  MORA_ENQUEUE(check, countNonFinite, x.desc(), count.desc(), accumulate);
}

void largestDifference(const Tensor& a, const Tensor& b, const Tensor& largest, bool accumulate) {
  Check check("largestDifference");
  check.tensor("a", a).floats().dense();
  check.tensor("b", b).sameShape(a).dtype(a.dtype()).dense();
  check.tensor("largest", largest).shape({1}).dtype(DType::f32);
  MORA_ENQUEUE(check, largestDifference, a.desc(), b.desc(), largest.desc(), accumulate);
}

}  // namespace mora::operations
