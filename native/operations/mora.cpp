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

void groupSum(Grouping grouping, In source, Out target, Flag accumulate) {
  requireGrouping("groupSum", grouping);
  Check check("groupSum");
  check.tensor("source", source).rank(2).floats().rows();
  check.that(source.size(1) == grouping.width, [&] { return std::to_string(grouping.width) + " columns"; });
  check.tensor("target", target).shape({source.size(0), grouping.side}).dtype(source.dtype()).rows();
  check.enqueue(&Backend::groupSum, grouping, source, target, accumulate);
}

void groupSpread(Grouping grouping, In source, Out target, Flag accumulate) {
  requireGrouping("groupSpread", grouping);
  Check check("groupSpread");
  check.tensor("target", target).rank(2).floats().rows();
  check.that(target.size(1) == grouping.width, [&] { return std::to_string(grouping.width) + " columns"; });
  check.tensor("source", source).shape({target.size(0), grouping.side}).dtype(target.dtype()).rows();
  check.enqueue(&Backend::groupSpread, grouping, source, target, accumulate);
}

int64_t foldedSide(SectionPlan plan, DType dtype, const Device& device) {
  requirePlan("foldedSide", plan);
  return device.backend().foldedSide(plan, dtype);
}

void foldSections(SectionPlan plan, In matrix, Out folded) {
  requirePlan("foldSections", plan);
  Check check("foldSections");
  check.tensor("matrix", matrix).shape({plan.side, plan.side}).dtype(DType::f32).dense();
  check.tensor("folded", folded).floats();
  checkFolded(check, "folded", folded, plan, folded.dtype());
  check.enqueue(&Backend::foldSections, plan, matrix, folded);
}

void unfoldSections(SectionPlan plan, In dFolded, Out dMatrix, Flag accumulate) {
  requirePlan("unfoldSections", plan);
  Check check("unfoldSections");
  check.tensor("dFolded", dFolded).dtype(DType::f32);
  checkFolded(check, "dFolded", dFolded, plan, DType::bf16);
  check.tensor("dMatrix", dMatrix).shape({plan.side, plan.side}).dtype(DType::f32).dense();
  check.enqueue(&Backend::unfoldSections, plan, dFolded, dMatrix, accumulate);
}

void sectionsForward(SectionPlan plan, In x, In folded, Out y, Flag accumulate) {
  requirePlan("sectionsForward", plan);
  Check check("sectionsForward");
  check.tensor("x", x).rank(2).floats().rows().that(x.size(1) == plan.inFeatures,
                                                    [&] { return std::to_string(plan.inFeatures) + " columns"; });
  check.tensor("folded", folded).dtype(x.dtype());
  checkFolded(check, "folded", folded, plan, x.dtype());
  check.tensor("y", y).shape({x.size(0), plan.outFeatures}).floats().rows();
  check.enqueue(&Backend::sectionsForward, plan, x, folded, y, accumulate);
}

void sectionsBackwardInput(SectionPlan plan, In dY, In folded, Out dX, Flag accumulate) {
  requirePlan("sectionsBackwardInput", plan);
  Check check("sectionsBackwardInput");
  checkOutputGradient(check, plan, dY);
  check.tensor("folded", folded).dtype(dY.dtype());
  checkFolded(check, "folded", folded, plan, dY.dtype());
  check.tensor("dX", dX).shape({dY.size(0), plan.inFeatures}).floats().rows();
  check.enqueue(&Backend::sectionsBackwardInput, plan, dY, folded, dX, accumulate);
}

void sectionsBackwardWeight(SectionPlan plan, In x, In dY, Out dFolded) {
  requirePlan("sectionsBackwardWeight", plan);
  Check check("sectionsBackwardWeight");
  check.tensor("x", x).rank(2).floats().rows().that(x.size(1) == plan.inFeatures,
                                                    [&] { return std::to_string(plan.inFeatures) + " columns"; });
  checkOutputGradient(check, plan, dY);
  check.shape({x.size(0), dY.size(1)}).dtype(x.dtype());
  check.tensor("dFolded", dFolded).dtype(DType::f32);
  checkFolded(check, "dFolded", dFolded, plan, x.dtype());
  check.enqueue(&Backend::sectionsBackwardWeight, plan, x, dY, dFolded);
}

void mergeGroups(Grouping input, Grouping output, In matrix, Factor scale, InOut weight, Optional nonFinite) {
  requireGrouping("mergeGroups", input);
  requireGrouping("mergeGroups", output);
  Check check("mergeGroups");
  check.tensor("matrix", matrix).shape({output.side, input.side}).dtype(DType::f32).dense();
  checkMerge(check, weight, output.width, input.width, nonFinite);
  check.enqueue(&Backend::mergeGroups, input, output, matrix, scale, weight, nonFinite);
}

void mergeSections(SectionPlan plan, In folded, Factor scale, InOut weight, Optional nonFinite) {
  requirePlan("mergeSections", plan);
  Check check("mergeSections");
  check.tensor("folded", folded).shape({plan.liveSections(), plan.side, plan.side}).dtype(DType::f32).dense();
  checkMerge(check, weight, plan.outFeatures, plan.inFeatures, nonFinite);
  check.enqueue(&Backend::mergeSections, plan, folded, scale, weight, nonFinite);
}

void mergeFactors(In b, In a, Factor scale, InOut weight, Optional nonFinite) {
  Check check("mergeFactors");
  check.tensor("b", b).rank(2).dtype(DType::f32).rows();
  check.tensor("a", a).rank(2).dtype(DType::f32).rows().that(a.size(0) == b.size(1), [&] {
    return std::to_string(b.size(1)) + " rows";
  });
  checkMerge(check, weight, b.size(0), a.size(1), nonFinite);
  check.enqueue(&Backend::mergeFactors, b, a, scale, weight, nonFinite);
}

}  // namespace mora::operations
