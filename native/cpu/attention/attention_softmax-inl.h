// The elementwise half of attention on rows of scores: the online softmax and the gradient through it, in f32.
// Scores are q.k before scaling, or capped; `slope` = softmaxScale * log2(e) turns them into exponents of 2.
//
// Include it after hwy/foreach_target.h, once per file.
#if defined(MORA_CPU_ATTENTION_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_CPU_ATTENTION_SOFTMAX_INL_H_
#undef MORA_CPU_ATTENTION_SOFTMAX_INL_H_
#else
#define MORA_CPU_ATTENTION_SOFTMAX_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <limits>

#include "cpu/attention/attention_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mora::cpu::HWY_NAMESPACE {

/// Zeros row [from, to rounded up to whole vectors). A vector that contains elements before `from` is already complete.
HWY_INLINE void clearTail(float* row, int64_t from, int64_t to) {
  for (int64_t i = roundUp(from, kLanes); i < to; i += kLanes) hn::StoreU(hn::Zero(FloatTag()), FloatTag(), row + i);
}

/// Caps products of queries and keys: row [0, count) becomes c tanh(scale / c q.k).
HWY_INLINE void capRow(float* scores, int64_t count, const AttentionScoring& scoring) {
  const FloatVector inner = broadcast(scoring.scale / scoring.softcap), cap = broadcast(scoring.softcap);
  for (int64_t i = 0; i < count; i += kLanes) {
    const FloatVector score = hn::LoadU(FloatTag(), scores + i);
    hn::StoreU(hn::Mul(cap, tanhFloat(hn::Mul(score, inner))), FloatTag(), scores + i);
  }
}

/// Caps the scores of a tile [kTileRows, stride], and hides keys before the rows' windows from the softmax.
HWY_INLINE void prepareScores(float* scores, int64_t stride, const TileKeys& tile, const AttentionScoring& scoring) {
  if (scoring.softcap > 0) {
    for (int64_t row = 0; row < kTileRows; ++row) capRow(scores + row * stride, tile.visible[row], scoring);
  }
  if (!tile.someHidden) return;
  for (int64_t row = 0; row < kTileRows; ++row) {
    std::fill_n(scores + row * stride, tile.hidden[row], -std::numeric_limits<float>::infinity());
  }
}

/// Stores a vector of f32 as elements from `i` of a row of P; for bf16, elements of f32 from `i` on stay as they are.
template <class P>
HWY_INLINE void packVector(FloatVector v, float* row, int64_t i) {
  if constexpr (std::is_same_v<P, float>) {
    hn::StoreU(v, FloatTag(), row + i);
  } else {
    hn::StoreU(roundUnits(v), hn::Rebind<uint16_t, FloatTag>(), reinterpret_cast<uint16_t*>(row) + i);
  }
}

/// One block of the online softmax over a tile of rows. Scores [kTileRows, stride] become 2^(slope (score - maximum))
/// for the first visible[row] of a row and 0 after that, up to `width` rounded up to whole vectors. They are packed as
/// P from the start of each row of scores. `maxima` and the lane-wise `sums` [.., lanes], of weights that are not
/// rounded, are carried from block to block; `factors` are the factors for older results.
template <class P>
HWY_INLINE void softmaxTile(float* scores, int64_t stride, const int64_t* visible, int64_t width, float slope,
                            float* maxima, float* sums, float* factors) {
  const FloatTag tag;
  constexpr int64_t kPadded = (kTileRows + kLanes - 1) / kLanes * kLanes;
  alignas(64) float before[kPadded] = {}, now[kPadded] = {}, shrink[kPadded];
  for (int64_t row = 0; row < kTileRows; ++row) {
    const float* from = scores + row * stride;
    FloatVector largest = broadcast(maxima[row]);
    forVectors(visible[row], [&](int64_t i, auto part) HWY_ATTR {
      if constexpr (std::is_same_v<decltype(part), WholeVector>) {
        largest = hn::Max(largest, hn::LoadU(tag, from + i));
      } else {
        largest = hn::IfThenElse(hn::FirstN(tag, part.count), hn::Max(largest, hn::LoadU(tag, from + i)), largest);
      }
    });
    before[row] = maxima[row];
    now[row] = maxima[row] = hn::ReduceMax(tag, largest);
  }
  for (int64_t i = 0; i < kPadded; i += kLanes) {
    const FloatVector a = hn::Load(tag, before + i), b = hn::Load(tag, now + i);
    // Equal maxima may be infinite, for a row that has seen no key yet.
    const FloatVector factor = exp2Float(hn::Mul(hn::Sub(a, b), broadcast(slope)));
    hn::Store(hn::IfThenElse(hn::Eq(a, b), broadcast(1.0f), factor), tag, shrink + i);
  }
  for (int64_t row = 0; row < kTileRows; ++row) {
    float* values = scores + row * stride;
    factors[row] = shrink[row];
    const FloatVector offset = broadcast(-slope * now[row]);
    FloatVector sum = hn::Mul(hn::LoadU(tag, sums + row * kLanes), broadcast(shrink[row]));
    forVectors(visible[row], [&](int64_t i, auto part) HWY_ATTR {
      FloatVector p = exp2Float(hn::MulAdd(hn::LoadU(tag, values + i), broadcast(slope), offset));
      if constexpr (!std::is_same_v<decltype(part), WholeVector>) {
        p = hn::IfThenElseZero(hn::FirstN(tag, part.count), p);
      }
      sum = hn::Add(sum, p);
      packVector<P>(p, values, i);
    });
    hn::StoreU(sum, tag, sums + row * kLanes);
    for (int64_t i = roundUp(visible[row], kLanes); i < width; i += kLanes) packVector<P>(hn::Zero(tag), values, i);
  }
}

/// In one row, turns scores q.k into probabilities p = 2^(slope score - logSum2), and gradients of p into gradients of
/// the scaled scores, p (dP - delta), through the cap if there is one; both are 0 outside [hidden, visible), up to
/// `width` rounded up to whole vectors. delta is the sum of dOut * out.
template <bool kCapped>
HWY_INLINE void softmaxBackwardRow(float* scores, float* gradients, int64_t hidden, int64_t visible, int64_t width,
                                   const AttentionScoring& scoring, float logSum2, float delta) {
  const FloatTag tag;
  const FloatVector slope = broadcast(scoring.softmaxScale() * kLog2E), offset = broadcast(-logSum2);
  const FloatVector inner = broadcast(kCapped ? scoring.scale / scoring.softcap : 1.0f);
  forVectors(visible, [&](int64_t i, auto part) HWY_ATTR {
    FloatVector score = hn::LoadU(tag, scores + i), bend = score;
    if constexpr (kCapped) {
      bend = tanhFloat(hn::Mul(score, inner));
      score = hn::Mul(bend, broadcast(scoring.softcap));
    }
    FloatVector p = exp2Float(hn::MulAdd(score, slope, offset));
    FloatVector gradient = hn::Mul(p, hn::Sub(hn::LoadU(tag, gradients + i), broadcast(delta)));
    if constexpr (kCapped) gradient = hn::NegMulAdd(hn::Mul(bend, bend), gradient, gradient);
    if constexpr (!std::is_same_v<decltype(part), WholeVector>) {
      p = hn::IfThenElseZero(hn::FirstN(tag, part.count), p);
      gradient = hn::IfThenElseZero(hn::FirstN(tag, part.count), gradient);
    }
    hn::StoreU(p, tag, scores + i);
    hn::StoreU(gradient, tag, gradients + i);
  });
  for (float* row : {scores, gradients}) {
    std::fill_n(row, hidden, 0.0f);
    clearTail(row, visible, width);
  }
}

}  // namespace mora::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
