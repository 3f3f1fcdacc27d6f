// Attention over one document, and of one query over all keys, as in generation.
#include <cmath>

#include "cases.h"
#include "cuda/kernels.h"
#include "operands.h"

namespace mora::bench {
namespace {

using cuda::Context;

AttentionScoring scoringOf(const Shape& s) { return {1 / std::sqrt(static_cast<float>(s.E)), 0, 0}; }

TensorDesc offsetsOf(Operands& make, int64_t rows, int64_t documents) {
  return make.integers(documents + 1, [=](int64_t i) { return rows * i / documents; });
}

void attention(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc q = make.bfloat16({s.T, s.H, s.E}), k = make.bfloat16({s.T, s.K, s.E});
  const TensorDesc v = make.bfloat16({s.T, s.K, s.E}), out = make.bfloat16({s.T, s.H, s.E});
  const TensorDesc lse = make.float32({s.H, s.T}), offsets = offsetsOf(make, s.T, 1);
  bench.time("attention", describe(s, {s.T, s.H, s.K, s.E}), [&](Context& context) {
    cuda::attention(context, q, k, v, offsets, offsets, scoringOf(s), out, lse, {});
  });
}

void attentionDecode(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc q = make.bfloat16({1, s.H, s.E}), k = make.bfloat16({s.T, s.K, s.E});
  const TensorDesc v = make.bfloat16({s.T, s.K, s.E}), out = make.bfloat16({1, s.H, s.E});
  const TensorDesc ofQueries = offsetsOf(make, 1, 1), ofKeys = offsetsOf(make, s.T, 1);
  bench.time("attentionDecode", describe(s, {s.T, s.H, s.K, s.E}), [&](Context& context) {
    cuda::attention(context, q, k, v, ofQueries, ofKeys, scoringOf(s), out, {}, {});
  });
}

void attentionBackward(Bench& bench, const Shape& s) {
  Operands make;
  const auto queries = [&] { return make.bfloat16({s.T, s.H, s.E}); };
  const auto keys = [&] { return make.bfloat16({s.T, s.K, s.E}); };
  const TensorDesc dOut = queries(), q = queries(), out = queries(), dQ = queries();
  const TensorDesc k = keys(), v = keys(), dK = keys(), dV = keys();
  const TensorDesc lse = make.float32({s.H, s.T}), offsets = offsetsOf(make, s.T, 1);
  bench.time("attentionBackward", describe(s, {s.T, s.H, s.K, s.E}), [&](Context& context) {
    cuda::attentionBackward(context, dOut, q, k, v, out, lse, offsets, offsets, scoringOf(s), dQ, dK, dV);
  });
}

constexpr Case kCases[] = {
    {"attention", attention}, {"attentionDecode", attentionDecode}, {"attentionBackward", attentionBackward}};

}  // namespace

std::span<const Case> attentionCases() { return kCases; }

}  // namespace mora::bench
