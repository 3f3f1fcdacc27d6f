// The gated delta rule of CUDA and its gradient, in every float type and layout, and invalid offsets.
#include <tuple>

#include "cuda/kernels.h"
#include "cuda_alike.h"

using namespace mora;
using namespace mora::test;

namespace {

struct Case {
  Values offsets;
  int64_t keyHeads, valueHeads, keySize, valueSize;
  bool hasStates = false;

  int64_t documents() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t tokens() const { return static_cast<int64_t>(offsets.back()); }
  Shape keys() const { return {tokens(), keyHeads, keySize}; }
  Shape values() const { return {tokens(), valueHeads, valueSize}; }
  Shape gates() const { return {tokens(), valueHeads}; }
  Shape states() const { return {documents(), valueHeads, keySize, valueSize}; }
};
// Chunks have 64 rows, and blocks 32 columns of a state.
const Case kCases[] = {{{0, 1}, 1, 1, 1, 1},
                       {{0}, 1, 1, 4, 4},
                       {{0, 3, 3, 70}, 1, 2, 6, 9, true},
                       {{0, 64, 129}, 1, 1, 5, 33},
                       {{0, 66}, 2, 4, 66, 34, true}};

Operand state(const Case& of, unsigned seed) { return reads(of.states(), seed).as(DType::f32).dense(); }
/// An output where there are states; otherwise nothing writes it.
Operand stateOut(const Case& of) { return of.hasStates ? output(of.states()).as(DType::f32).dense() : state(of, 9); }

/// q, k, v, g, beta, offsets and the state. Keys are about as long as 1, so that states do not grow.
std::vector<Operand> inputsOf(const Case& of) {
  Operand decays = reads(of.gates(), 4).as(DType::f32), rates = reads(of.gates(), 5).as(DType::f32);
  for (double& g : decays.values) g = -std::abs(g);
  for (double& beta : rates.values) beta = rounded(DType::f32, 1 / (1 + std::exp(beta)));
  return {reads(of.keys(), 1),
          reads(of.keys(), 2, 1 / std::sqrt(static_cast<double>(of.keySize))),
          reads(of.values(), 3),
          decays,
          rates,
          fixed(DType::i32, {of.documents() + 1}, of.offsets),
          state(of, 6)};
}

void forward(cuda::Context& context, const Case& of) {
  std::vector<Operand> operands = inputsOf(of);
  operands.push_back(output(of.values()));
  operands.push_back(stateOut(of));
  expectAlike("gatedDeltaRule", operands, [&](const Views& t) {
    if (!of.hasStates) return cuda::gatedDeltaRule(context, t[0], t[1], t[2], t[3], t[4], t[5], {}, t[7], {});
    cuda::gatedDeltaRule(context, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8]);
  });
}

void backward(cuda::Context& context, const Case& of) {
  std::vector<Operand> operands = inputsOf(of);
  const Operand gate = output(of.gates()).as(DType::f32);
  for (const Operand& operand : {reads(of.values(), 7), state(of, 8), output(of.keys()), output(of.keys()),
                                 output(of.values()), gate, gate, stateOut(of)})
    operands.push_back(operand);
  expectAlike("gatedDeltaRuleBackward", operands, [&](const Views& t) {
    const TensorDesc none{};
    const auto& [start, dFinal, dState] = of.hasStates ? std::tie(t[6], t[8], t[14]) : std::tie(none, none, none);
    cuda::gatedDeltaRuleBackward(context, t[7], dFinal, t[0], t[1], t[2], t[3], t[4], t[5], start, t[9], t[10], t[11],
                                 t[12], t[13], dState);
  });
}

void reportsOffsets(TestContext& test) {
  const DeviceTensor x(DType::f32, {3, 1, 2}, Values(6, 0.5)), gate(DType::f32, {3, 1}, Values(3, -0.5));
  const DeviceTensor offsets(DType::i32, {3}, {0, 4, 3}), y(DType::f32, {3, 1, 2}, Values(6));
  cuda::gatedDeltaRule(test.context, x, x, x, gate, gate, offsets, {}, y, {});
  y.get();
  const cuda::DeviceReport report = test.takeReport();
  CHECK(report.operation == static_cast<int32_t>(mora::Operation::gatedDeltaRule));
  CHECK(report.limit == 3 && (report.position == 1 || report.position == 2));
}

}  // namespace

int main() {
  TestContext test;
  for (const Case& of : kCases) {
    forward(test.context, of);
    backward(test.context, of);
  }
  reportsOffsets(test);
  return finish();
}
