// Products through cuBLAS, and what MoRA and LoRA put beside them.
#include "cases.h"
#include "cuda/kernels.h"
#include "operands.h"

namespace mora::bench {
namespace {

using cuda::Context;

void matmul(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.D}), weight = make.bfloat16({s.F, s.D}), y = make.bfloat16({s.T, s.F});
  bench.time("matmul", describe(s, {s.T, s.F, s.D}),
             [&](Context& context) { cuda::matmul(context, x, false, weight, true, y, 1, false); });
  const TensorDesc a = make.bfloat16({8, s.D}), xa = make.bfloat16({s.T, 8});
  bench.time("matmul", describe(s, {s.T, 8, s.D}, "LoRA's A"),
             [&](Context& context) { cuda::matmul(context, x, false, a, true, xa, 1, false); });
}

void groups(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc wide = make.bfloat16({s.T, s.D}), narrow = make.bfloat16({s.T, s.side});
  for (const GroupKind kind : {GroupKind::tile, GroupKind::runs}) {
    const Grouping grouping{kind, 0, s.D, s.side};
    const std::string shape = describe(s, {s.T, s.D, s.side}, kind == GroupKind::tile ? "tile" : "runs");
    bench.time("groupSum", shape, [&](Context& context) { cuda::groupSum(context, grouping, wide, narrow, false); });
    bench.time("groupSpread", shape,
               [&](Context& context) { cuda::groupSpread(context, grouping, narrow, wide, false); });
  }
}

void sections(Bench& bench, const Shape& s) {
  Operands make;
  // One side less is no multiple of 8: what cuBLAS likes least.
  for (const int64_t side : {s.side, s.side - 1}) {
    const SectionPlan plan{s.D, s.D, side, 1, 0, 0};
    const int64_t n = plan.liveSections(), window = cuda::foldedSide(plan, DType::bf16);
    const TensorDesc x = make.bfloat16({s.T, s.D}), y = make.bfloat16({s.T, s.D}), matrix = make.float32({side, side});
    const TensorDesc folded = make.bfloat16({n, window, window}), dFolded = make.float32({n, window, window});
    const std::string shape = describe(s, {s.T, s.D, side});
    bench.time("sectionsFold", shape, [&](Context& context) { cuda::foldSections(context, plan, matrix, folded); });
    bench.time("sectionsForward", shape,
               [&](Context& context) { cuda::sectionsForward(context, plan, x, folded, y, false); });
    bench.time("sectionsBackwardInput", shape,
               [&](Context& context) { cuda::sectionsBackwardInput(context, plan, y, folded, x, false); });
    bench.time("sectionsBackwardWeight", shape,
               [&](Context& context) { cuda::sectionsBackwardWeight(context, plan, x, y, dFolded); });
    bench.time("sectionsUnfold", shape,
               [&](Context& context) { cuda::unfoldSections(context, plan, dFolded, matrix, false); });
  }
}

void merge(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc weight = make.bfloat16({s.D, s.D}), nonFinite = make.zeros(DType::i32, {1});
  const TensorDesc matrix = make.float32({s.side, s.side});
  const Grouping grouping{GroupKind::tile, 0, s.D, s.side};
  bench.time("mergeGroups", describe(s, {s.D, s.D, s.side}), [&](Context& context) {
    cuda::mergeGroups(context, grouping, grouping, matrix, 1e-6f, weight, nonFinite);
  });
  const SectionPlan plan{s.D, s.D, s.side, 1, 0, 0};
  const TensorDesc folded = make.float32({plan.liveSections(), s.side, s.side});
  bench.time("mergeSections", describe(s, {s.D, s.D, s.side}),
             [&](Context& context) { cuda::mergeSections(context, plan, folded, 1e-6f, weight, nonFinite); });
  const TensorDesc a = make.float32({8, s.D}), b = make.float32({s.D, 8});
  bench.time("mergeFactors", describe(s, {s.D, s.D, 8}),
             [&](Context& context) { cuda::mergeFactors(context, b, a, 1e-6f, weight, nonFinite); });
}

constexpr Case kCases[] = {{"matmul", matmul}, {"group", groups}, {"sections", sections}, {"merge", merge}};

}  // namespace

std::span<const Case> adapterCases() { return kCases; }

}  // namespace mora::bench
