// What comes after the last product: losses, tokens drawn, and the optimizer.
#include "cases.h"
#include "cuda/kernels.h"
#include "operands.h"

namespace mora::bench {
namespace {

using cuda::Context;

void crossEntropy(Bench& bench, const Shape& s) {
  Operands make;
  const int64_t rows = (s.T + 3) / 4;
  const TensorDesc logits = make.float32({rows, s.V}), losses = make.float32({rows});
  const TensorDesc targets = make.integers(rows, [&](int64_t i) { return i * 31 % s.V; });
  bench.time("crossEntropy", describe(s, {rows, s.V}, "in place"),
             [&](Context& context) { cuda::crossEntropy(context, logits, targets, 0, losses, logits); });
}

void argmax(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc logits = make.float32({1, s.V}), ids = make.zeros(DType::i32, {1});
  bench.time("argmax", describe(s, {1, s.V}), [&](Context& context) { cuda::argmax(context, logits, ids); });
}

void sample(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc logits = make.float32({1, s.V}), ids = make.zeros(DType::i32, {1});
  const TensorDesc draws = make.longIntegers(1, [](int64_t) { return int64_t{1} << 52; });
  struct Way {
    std::vector<float> settings;  // a Sampling
    const char* name;
  };
  for (const Way& way : {Way{{1, 0, 0, 1, 1}, ""}, Way{{1, 0, 50, 1, 1}, "topK 50"},
                         Way{{1, 0, 0, 0.9f, 1}, "topP 0.9"}, Way{{1, 0, 0, 1, 0.9f}, "typicalP 0.9"}}) {
    const TensorDesc settings = make.numbers({1, Sampling::kFields}, way.settings);
    bench.time("sample", describe(s, {1, s.V}, way.name),
               [&](Context& context) { cuda::sample(context, logits, draws, settings, ids); });
  }
}

void sum(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.float32({s.T, s.D}), total = make.float32({1});
  bench.time("sum", describe(s, {s.T, s.D}), [&](Context& context) { cuda::sum(context, x, total, false); });
}

/// A layer's weights, trained whole.
struct Trained {
  explicit Trained(const Shape& s) {
    parameter = make.float32({s.F, s.D});
    gradient = make.float32({s.F, s.D});
    firstMoment = make.zeros(DType::f32, {s.F, s.D});
    secondMoment = make.zeros(DType::f32, {s.F, s.D});
    scalar = make.float32({1});
  }

  Operands make;
  TensorDesc parameter, gradient, firstMoment, secondMoment, scalar;
};

void globalNorm(Bench& bench, const Shape& s) {
  const Trained trained(s);
  bench.time("globalNorm", describe(s, {s.F, s.D}), [&](Context& context) {
    cuda::globalNorm(context, {&trained.gradient, 1}, trained.scalar);
  });
}

void adamw(Bench& bench, const Shape& s) {
  const Trained trained(s);
  const AdamWStep step{1e-3, 0.9, 0.999, 1e-8, 0, 0.1, 0.001};
  bench.time("adamw", describe(s, {s.F, s.D}), [&](Context& context) {
    cuda::adamw(context, {&trained.parameter, 1}, {&trained.gradient, 1}, {&trained.firstMoment, 1},
                {&trained.secondMoment, 1}, step, trained.scalar);
  });
}

constexpr Case kCases[] = {{"crossEntropy", crossEntropy}, {"argmax", argmax}, {"sample", sample}, {"sum", sum},
                           {"globalNorm", globalNorm},     {"adamw", adamw}};

}  // namespace

std::span<const Case> lossCases() { return kCases; }

}  // namespace mora::bench
