// AdamW (arXiv 1711.05101) over a list of tensors, the norm of all gradients and their clipping factor.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/math/adamw.h"
#include "cpu/float_types.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/adamw.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

double SumOfSquares(const float* x, int64_t count) {
  const hn::Repartition<double, FloatTag> wide;
  auto lower = hn::Zero(wide), upper = hn::Zero(wide);
  forVectors(count, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector v = load(x + i, part);
    const auto low = hn::PromoteLowerTo(wide, v), high = hn::PromoteUpperTo(wide, v);
    lower = hn::MulAdd(low, low, lower);
    upper = hn::MulAdd(high, high, upper);
  });
  return hn::ReduceSum(wide, hn::Add(lower, upper));
}

void UpdateChunk(const AdamWTensor& tensor, int64_t begin, int64_t end, const AdamWFactors& factors,
                 float gradientScale) {
  const FloatVector scale = broadcast(gradientScale);
  const FloatVector keep1 = broadcast(factors.keep1), add1 = broadcast(factors.add1);
  const FloatVector keep2 = broadcast(factors.keep2), add2 = broadcast(factors.add2);
  const FloatVector decay = broadcast(factors.decay), stepSize = broadcast(factors.stepSize);
  const FloatVector rootFactor = broadcast(factors.rootFactor), epsilon = broadcast(factors.epsilon);
  float* const parameter = tensor.parameter + begin;
  const float* const gradient = tensor.gradient + begin;
  float *const firstMoment = tensor.firstMoment + begin, *const secondMoment = tensor.secondMoment + begin;
  forVectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
    const FloatVector g = hn::Mul(load(gradient + i, part), scale);
    const FloatVector m = hn::MulAdd(g, add1, hn::Mul(load(firstMoment + i, part), keep1));
    const FloatVector v = hn::MulAdd(hn::Mul(g, g), add2, hn::Mul(load(secondMoment + i, part), keep2));
    const FloatVector root = hn::MulAdd(hn::Sqrt(v), rootFactor, epsilon);
    const FloatVector p = hn::Mul(load(parameter + i, part), decay);
    store(m, firstMoment + i, part);
    store(v, secondMoment + i, part);
    store(hn::NegMulAdd(stepSize, hn::Div(m, root), p), parameter + i, part);
  });
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::cpu {

HWY_EXPORT(SumOfSquares);
HWY_EXPORT(UpdateChunk);

namespace {

constexpr int64_t kChunk = 16384;

/// Elements [begin, end) of one tensor of the list.
struct Chunk {
  const AdamWTensor* tensor;
  int64_t begin, end;
};

std::vector<Chunk> chunksOf(const std::vector<AdamWTensor>& tensors) {
  std::vector<Chunk> chunks;
  for (const AdamWTensor& tensor : tensors)
    for (int64_t begin = 0; begin < tensor.count; begin += kChunk)
      chunks.push_back({&tensor, begin, std::min(tensor.count, begin + kChunk)});
  return chunks;
}

}  // namespace

void globalNorm(TensorList gradients, TensorDesc norm) {
  const std::vector<AdamWTensor> tensors = trainedTensors({}, gradients, {}, {});
  const std::vector<Chunk> chunks = chunksOf(tensors);
  std::vector<double> partials(chunks.size());
  parallelRanges(static_cast<int64_t>(chunks.size()), kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& chunk = chunks[static_cast<size_t>(i)];
      partials[static_cast<size_t>(i)] =
          HWY_DYNAMIC_DISPATCH(SumOfSquares)(chunk.tensor->gradient + chunk.begin, chunk.end - chunk.begin);
    }
  });
  double total = 0;
  for (const double partial : partials) total += partial;
  *static_cast<float*>(norm.data) = static_cast<float>(std::sqrt(total));
}

void clipScale(TensorDesc norm, float gradientScale, float maxNorm, TensorDesc scale) {
  const double factor = gradientScale, length = *static_cast<const float*>(norm.data);
  double result = maxNorm == 0 ? factor : factor * std::min(1.0, maxNorm / (factor * length + 1e-6));
  if (!std::isfinite(length)) result = std::numeric_limits<double>::quiet_NaN();
  *static_cast<float*>(scale.data) = static_cast<float>(result);
}

void adamw(TensorList parameters, TensorList gradients, TensorList firstMoments, TensorList secondMoments,
           AdamWStep step, TensorDesc scale) {
  const float gradientScale = *static_cast<const float*>(scale.data);
  if (!std::isfinite(gradientScale)) return;
  const AdamWFactors factors(step);
  const std::vector<AdamWTensor> tensors = trainedTensors(parameters, gradients, firstMoments, secondMoments);
  const std::vector<Chunk> chunks = chunksOf(tensors);
  parallelRanges(static_cast<int64_t>(chunks.size()), kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Chunk& chunk = chunks[static_cast<size_t>(i)];
      HWY_DYNAMIC_DISPATCH(UpdateChunk)(*chunk.tensor, chunk.begin, chunk.end, factors, gradientScale);
    }
  });
}

}  // namespace mora::cpu
#endif  // HWY_ONCE
