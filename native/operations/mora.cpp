// MoRA's operators (mora/geometry.h), and merging.
#include <limits>

#include "operations/check.h"
#include "operations/operations.h"

namespace mora::operations {

namespace {

void requireSide(const char* operation, int64_t side) {
  if (side < 1)
    throw Error("invalid-argument", std::string(operation) + ": the side of the square matrix must be positive, not " +
                                        std::to_string(side) + ".");
}

void requireGrouping(const char* operation, const Grouping& grouping) {
  requireSide(operation, grouping.side);
  if (grouping.width < 1)
    throw Error("invalid-argument", std::string(operation) + ": expected columns to group but received " +
                                        std::to_string(grouping.width) + ".");
}

void requirePlan(const char* operation, const SectionPlan& plan) {
  requireSide(operation, plan.side);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // products of two sizes fit in 64 bits
  const bool fits = plan.inFeatures <= kMost && plan.outFeatures <= kMost && plan.side <= kMost;
  if (plan.inFeatures < 1 || plan.outFeatures < 1 || !fits || (plan.rotate && plan.side % 2 != 0))
    throw Error("invalid-argument", std::string(operation) + ": no plan for " + std::to_string(plan.inFeatures) +
                                        " -> " + std::to_string(plan.outFeatures) + " with side " +
                                        std::to_string(plan.side) +
                                        (plan.rotate ? " (rotation needs an even side)." : "."));
}

// Checks folded matrices [n, W, W] for activations of a dtype, where W is the backend's window or R.
void checkFolded(Check& check, const char* name, const Tensor& folded, const SectionPlan& plan, DType activations) {
  check.tensor(name, folded).dense();
  const int64_t window = check.device().backend().foldedSide(plan, activations);
  const int64_t side = folded.rank() == 3 && folded.size(1) == window ? window : plan.side;
  check.shape({plan.liveSections(), side, side});
}

// The gradient of repeated outputs has room for a whole window.
void checkOutputGradient(Check& check, const SectionPlan& plan, const Tensor& dY) {
  check.tensor("dY", dY).rank(2).floats().rows();
  const int64_t d = plan.outFeatures, whole = (d + 7) / 8 * 8;
  check.that(dY.size(1) == d || dY.size(1) == whole, [&] { return std::to_string(d) + " columns"; });
}

// Merging works on dense rows of a weight and optionally counts non-finite results.
void checkMerge(Check& check, const Tensor& weight, int64_t outFeatures, int64_t inFeatures, const Tensor& nonFinite) {
  check.tensor("weight", weight).shape({outFeatures, inFeatures}).floats().rows();
  if (nonFinite) check.tensor("nonFinite", nonFinite).shape({1}).dtype(DType::i32);
}

}  // namespace

void groupSum(Grouping grouping, const Tensor& source, const Tensor& target, bool accumulate) {
  requireGrouping("groupSum", grouping);
  Check check("groupSum");
  check.tensor("source", source).rank(2).floats().rows();
  check.that(source.size(1) == grouping.width, [&] { return std::to_string(grouping.width) + " columns"; });
  check.tensor("target", target).shape({source.size(0), grouping.side}).dtype(source.dtype()).rows();
  MORA_ENQUEUE(check, groupSum, grouping, source.desc(), target.desc(), accumulate);
}

void groupSpread(Grouping grouping, const Tensor& source, const Tensor& target, bool accumulate) {
  requireGrouping("groupSpread", grouping);
  Check check("groupSpread");
  check.tensor("target", target).rank(2).floats().rows();
  check.that(target.size(1) == grouping.width, [&] { return std::to_string(grouping.width) + " columns"; });
  check.tensor("source", source).shape({target.size(0), grouping.side}).dtype(target.dtype()).rows();
  MORA_ENQUEUE(check, groupSpread, grouping, source.desc(), target.desc(), accumulate);
}

int64_t foldedSide(SectionPlan plan, DType dtype, const Device& device) {
  requirePlan("foldedSide", plan);
  return device.backend().foldedSide(plan, dtype);
}

void foldSections(SectionPlan plan, const Tensor& matrix, const Tensor& folded) {
  requirePlan("foldSections", plan);
  Check check("foldSections");
  check.tensor("matrix", matrix).shape({plan.side, plan.side}).dtype(DType::f32).dense();
  check.tensor("folded", folded).floats();
  checkFolded(check, "folded", folded, plan, folded.dtype());
  MORA_ENQUEUE(check, foldSections, plan, matrix.desc(), folded.desc());
}

void unfoldSections(SectionPlan plan, const Tensor& dFolded, const Tensor& dMatrix, bool accumulate) {
  requirePlan("unfoldSections", plan);
  Check check("unfoldSections");
  check.tensor("dFolded", dFolded).dtype(DType::f32);
  checkFolded(check, "dFolded", dFolded, plan, DType::bf16);
  check.tensor("dMatrix", dMatrix).shape({plan.side, plan.side}).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, unfoldSections, plan, dFolded.desc(), dMatrix.desc(), accumulate);
}

void sectionsForward(SectionPlan plan, const Tensor& x, const Tensor& folded, const Tensor& y, bool accumulate) {
  requirePlan("sectionsForward", plan);
  Check check("sectionsForward");
  check.tensor("x", x).rank(2).floats().rows().that(x.size(1) == plan.inFeatures,
                                                    [&] { return std::to_string(plan.inFeatures) + " columns"; });
  check.tensor("folded", folded).dtype(x.dtype());
  checkFolded(check, "folded", folded, plan, x.dtype());
  check.tensor("y", y).shape({x.size(0), plan.outFeatures}).floats().rows();
  MORA_ENQUEUE(check, sectionsForward, plan, x.desc(), folded.desc(), y.desc(), accumulate);
}

void sectionsBackwardInput(SectionPlan plan, const Tensor& dY, const Tensor& folded, const Tensor& dX,
                           bool accumulate) {
  requirePlan("sectionsBackwardInput", plan);
  Check check("sectionsBackwardInput");
  checkOutputGradient(check, plan, dY);
  check.tensor("folded", folded).dtype(dY.dtype());
  checkFolded(check, "folded", folded, plan, dY.dtype());
  check.tensor("dX", dX).shape({dY.size(0), plan.inFeatures}).floats().rows();
  MORA_ENQUEUE(check, sectionsBackwardInput, plan, dY.desc(), folded.desc(), dX.desc(), accumulate);
}

void sectionsBackwardWeight(SectionPlan plan, const Tensor& x, const Tensor& dY, const Tensor& dFolded) {
  requirePlan("sectionsBackwardWeight", plan);
  Check check("sectionsBackwardWeight");
  check.tensor("x", x).rank(2).floats().rows().that(x.size(1) == plan.inFeatures,
                                                    [&] { return std::to_string(plan.inFeatures) + " columns"; });
  checkOutputGradient(check, plan, dY);
  check.shape({x.size(0), dY.size(1)}).dtype(x.dtype());
  check.tensor("dFolded", dFolded).dtype(DType::f32);
  checkFolded(check, "dFolded", dFolded, plan, x.dtype());
  MORA_ENQUEUE(check, sectionsBackwardWeight, plan, x.desc(), dY.desc(), dFolded.desc());
}

void mergeGroups(Grouping input, Grouping output, const Tensor& matrix, double scale, const Tensor& weight,
                 const Tensor& nonFinite) {
  requireGrouping("mergeGroups", input);
  requireGrouping("mergeGroups", output);
  Check check("mergeGroups");
  check.tensor("matrix", matrix).shape({output.side, input.side}).dtype(DType::f32).dense();
  checkMerge(check, weight, output.width, input.width, nonFinite);
  MORA_ENQUEUE(check, mergeGroups, input, output, matrix.desc(), static_cast<float>(scale), weight.desc(),
               nonFinite.desc());
}

void mergeSections(SectionPlan plan, const Tensor& folded, double scale, const Tensor& weight,
                   const Tensor& nonFinite) {
  requirePlan("mergeSections", plan);
  Check check("mergeSections");
  check.tensor("folded", folded).shape({plan.liveSections(), plan.side, plan.side}).dtype(DType::f32).dense();
  checkMerge(check, weight, plan.outFeatures, plan.inFeatures, nonFinite);
  MORA_ENQUEUE(check, mergeSections, plan, folded.desc(), static_cast<float>(scale), weight.desc(),
               optional(nonFinite));
}

void mergeFactors(const Tensor& b, const Tensor& a, double scale, const Tensor& weight, const Tensor& nonFinite) {
  Check check("mergeFactors");
  check.tensor("b", b).rank(2).dtype(DType::f32).rows();
  check.tensor("a", a).rank(2).dtype(DType::f32).rows().that(a.size(0) == b.size(1), [&] {
    return std::to_string(b.size(1)) + " rows";
  });
  checkMerge(check, weight, b.size(0), a.size(1), nonFinite);
  MORA_ENQUEUE(check, mergeFactors, b.desc(), a.desc(), static_cast<float>(scale), weight.desc(), optional(nonFinite));
}

}  // namespace mora::operations
