// Operations that read and write rows of activations and weights once: their limit is memory.
#include "cases.h"
#include "cuda/kernels.h"
#include "operands.h"

namespace mora::bench {
namespace {

using cuda::Context;

void fill(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.F});
  bench.time("fill", describe(s, {s.T, s.F}), [&](Context& context) { cuda::fill(context, x, 0); });
}

void copy(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.float32({s.T, s.F}), y = make.bfloat16({s.T, s.F});
  bench.time("copy", describe(s, {s.T, s.F}, "f32 to bf16"), [&](Context& context) { cuda::copy(context, x, y, 1); });
}

void add(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.D}), y = make.bfloat16({s.T, s.D});
  bench.time("add", describe(s, {s.T, s.D}), [&](Context& context) { cuda::add(context, x, y, 1e-3f); });
}

void addBias(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc bias = make.float32({s.F}), y = make.bfloat16({s.T, s.F});
  bench.time("addBias", describe(s, {s.T, s.F}), [&](Context& context) { cuda::addBias(context, bias, y); });
}

void columnSums(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.F}), sums = make.float32({s.F});
  bench.time("columnSums", describe(s, {s.T, s.F}),
             [&](Context& context) { cuda::columnSums(context, x, sums, false); });
}

void dequantise(Bench& bench, const Shape& s) {
  const int64_t columns = (s.F + 255) / 256 * 256;
  for (const DType type : {DType::q4_0, DType::q8_0, DType::q4_k, DType::q6_k}) {
    Operands make;
    const TensorDesc blocks = make.floats(type, {s.D, columns}), values = make.bfloat16({s.D, columns});
    bench.time("dequantise", describe(s, {s.D, columns}, traitsOf(type).name),
               [&](Context& context) { cuda::dequantise(context, blocks, values); });
  }
}

int64_t scattered(int64_t i, int64_t limit) { return i * 7919 % limit; }

void embedding(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc table = make.bfloat16({s.V, s.D}), y = make.bfloat16({s.T, s.D});
  const TensorDesc ids = make.integers(s.T, [&](int64_t i) { return scattered(i, s.V); });
  bench.time("embedding", describe(s, {s.T, s.D}), [&](Context& context) { cuda::embedding(context, table, ids, y); });
}

void embeddingBackward(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc dY = make.bfloat16({s.T, s.D}), dTable = make.zeros(DType::f32, {s.V, s.D});
  const TensorDesc ids = make.integers(s.T, [&](int64_t i) { return scattered(i, s.V); });
  bench.time("embeddingBackward", describe(s, {s.T, s.D}),
             [&](Context& context) { cuda::embeddingBackward(context, dY, ids, dTable); });
}

void gatherRows(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.D}), y = make.bfloat16({s.T, s.D});
  const TensorDesc rows = make.integers(s.T, [&](int64_t i) { return s.T - 1 - i; });
  bench.time("gatherRows", describe(s, {s.T, s.D}), [&](Context& context) { cuda::gatherRows(context, x, rows, y); });
}

void gatherColumns(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.D}), y = make.bfloat16({s.T, s.D});
  const TensorDesc columns = make.integers(s.D, [&](int64_t i) { return s.D - 1 - i; });
  bench.time("gatherColumns", describe(s, {s.T, s.D}),
             [&](Context& context) { cuda::gatherColumns(context, x, columns, y, false); });
}

void rmsNorm(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.D}), residual = make.zeros(DType::bf16, {s.T, s.D});
  const TensorDesc weight = make.float32({s.D}), y = make.bfloat16({s.T, s.D}), rstd = make.float32({s.T});
  bench.time("rmsNorm", describe(s, {s.T, s.D}, "with residual"),
             [&](Context& context) { cuda::rmsNorm(context, x, residual, weight, 0, 1e-5f, y, rstd); });
}

void rmsNormBackward(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc dY = make.bfloat16({s.T, s.D}), x = make.bfloat16({s.T, s.D}), weight = make.float32({s.D});
  const TensorDesc rstd = make.float32({s.T}), dX = make.zeros(DType::bf16, {s.T, s.D});
  const TensorDesc dWeight = make.zeros(DType::f32, {s.D});
  bench.time("rmsNormBackward", describe(s, {s.T, s.D}),
             [&](Context& context) { cuda::rmsNormBackward(context, dY, x, weight, 0, rstd, dX, true, {}); });
  bench.time("rmsNormBackward", describe(s, {s.T, s.D}, "with dWeight"),
             [&](Context& context) { cuda::rmsNormBackward(context, dY, x, weight, 0, rstd, dX, true, dWeight); });
}

void layerNorm(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.D}), weight = make.float32({s.D}), bias = make.float32({s.D});
  const TensorDesc y = make.bfloat16({s.T, s.D}), mean = make.float32({s.T}), rstd = make.float32({s.T});
  bench.time("layerNorm", describe(s, {s.T, s.D}),
             [&](Context& context) { cuda::layerNorm(context, x, weight, bias, 1e-5f, y, mean, rstd); });
}

void layerNormBackward(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc dY = make.bfloat16({s.T, s.D}), x = make.bfloat16({s.T, s.D}), weight = make.float32({s.D});
  const TensorDesc mean = make.float32({s.T}), rstd = make.float32({s.T}), dX = make.zeros(DType::bf16, {s.T, s.D});
  bench.time("layerNormBackward", describe(s, {s.T, s.D}),
             [&](Context& context) { cuda::layerNormBackward(context, dY, x, weight, mean, rstd, dX, true, {}, {}); });
}

void rope(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.H, s.E}), positions = make.integers(s.T, [](int64_t i) { return i; });
  const TensorDesc cosines = make.float32({s.T, s.E / 2}), sines = make.float32({s.T, s.E / 2});
  bench.time("rope", describe(s, {s.T, s.H, s.E}),
             [&](Context& context) { cuda::rope(context, x, positions, cosines, sines, false); });
}

void activation(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc gate = make.bfloat16({s.T, s.F}), up = make.bfloat16({s.T, s.F}), y = make.bfloat16({s.T, s.F});
  bench.time("activation", describe(s, {s.T, s.F}, "SwiGLU"),
             [&](Context& context) { cuda::activation(context, Activation::silu, gate, up, y); });
}

void activationBackward(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc dY = make.bfloat16({s.T, s.F}), gate = make.bfloat16({s.T, s.F}), up = make.bfloat16({s.T, s.F});
  const TensorDesc dGate = make.bfloat16({s.T, s.F}), dUp = make.bfloat16({s.T, s.F});
  bench.time("activationBackward", describe(s, {s.T, s.F}, "SwiGLU"),
             [&](Context& context) { cuda::activationBackward(context, Activation::silu, dY, gate, up, dGate, dUp); });
}

void dropout(Bench& bench, const Shape& s) {
  Operands make;
  const TensorDesc x = make.bfloat16({s.T, s.D}), y = make.bfloat16({s.T, s.D});
  const TensorDesc keys = make.longIntegers(s.T, [](int64_t i) { return i; });
  bench.time("dropout", describe(s, {s.T, s.D}), [&](Context& context) {
    cuda::dropout(context, x, keys, {{1, 2}, 0.1f}, y);
  });
}

constexpr Case kCases[] = {
    {"fill", fill},
    {"copy", copy},
    {"add", add},
    {"addBias", addBias},
    {"columnSums", columnSums},
    {"dequantise", dequantise},
    {"embedding", embedding},
    {"embeddingBackward", embeddingBackward},
    {"gatherRows", gatherRows},
    {"gatherColumns", gatherColumns},
    {"rmsNorm", rmsNorm},
    {"rmsNormBackward", rmsNormBackward},
    {"layerNorm", layerNorm},
    {"layerNormBackward", layerNormBackward},
    {"rope", rope},
    {"activation", activation},
    {"activationBackward", activationBackward},
    {"dropout", dropout},
};

}  // namespace

std::span<const Case> rowCases() { return kCases; }

}  // namespace mora::bench
