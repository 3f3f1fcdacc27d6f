#include "core/operations.h"

#include <cmath>
#include <limits>

#include "core/check.h"

namespace mora::operations {
namespace {

TensorDesc optional(const Tensor& tensor) { return tensor ? tensor.desc() : TensorDesc{}; }

#define MORA_ENQUEUE(check, name, ...) \
  (check).device().check((check).device().backend().name((check).device().stream(), __VA_ARGS__), #name)

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

void requirePlan(const char* operation, const BlockPlan& plan) {
  requireSide(operation, plan.side);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // products of two sizes fit 64 bits
  const bool fits = plan.inFeatures <= kMost && plan.outFeatures <= kMost && plan.side <= kMost;
  if (plan.inFeatures < 1 || plan.outFeatures < 1 || !fits || (plan.rotate && plan.side % 2 != 0))
    throw Error("invalid-argument", std::string(operation) + ": no plan for " + std::to_string(plan.inFeatures) +
                                        " -> " + std::to_string(plan.outFeatures) + " with side " +
                                        std::to_string(plan.side) +
                                        (plan.rotate ? " (rotation needs an even side)." : "."));
}

// Folded matrices [n, W, W] for activations of a dtype: in windows, if the backend has them, or R wide.
void checkFolded(Check& check, const char* name, const Tensor& folded, const BlockPlan& plan, DType activations) {
  check.tensor(name, folded).dense();
  const int64_t window = check.device().backend().foldedSide(plan, activations);
  const int64_t side = folded.rank() == 3 && folded.size(1) == window ? window : plan.side;
  check.shape({plan.liveBlocks(), side, side});
}

// Gradients of outputs that repeat are made with room for a whole window.
void checkOutputGradient(Check& check, const BlockPlan& plan, const Tensor& dY) {
  check.tensor("dY", dY).rank(2).floats().rows();
  const int64_t d = plan.outFeatures, whole = (d + 7) / 8 * 8;
  check.that(dY.size(1) == d || dY.size(1) == whole, [&] { return std::to_string(d) + " columns"; });
}

// Merging gathers into dense rows of a weight; a count of what went wrong comes beside it.
void checkMerge(Check& check, const Tensor& weight, int64_t outFeatures, int64_t inFeatures, const Tensor& nonFinite) {
  check.tensor("weight", weight).shape({outFeatures, inFeatures}).floats().rows();
  if (nonFinite) check.tensor("nonFinite", nonFinite).shape({1}).dtype(DType::i32);
}

}  // namespace

void fill(const Tensor& target, double value) {
  Check check("fill");
  check.tensor("target", target).that(!isQuantised(target.dtype()), "a plain dtype");
  MORA_ENQUEUE(check, fill, target.desc(), value);
}

void copy(const Tensor& source, const Tensor& target, double scale) {
  Check check("copy");
  check.tensor("source", source).that(!isQuantised(source.dtype()), "a plain dtype (dequantise converts blocks)");
  check.tensor("target", target).sameShape(source);
  check.that(source.dtype() == target.dtype() || (isFloat(source.dtype()) && isFloat(target.dtype())),
             [&] { return std::string("a dtype that ") + traitsOf(source.dtype()).name + " converts to"; });
  MORA_ENQUEUE(check, copy, source.desc(), target.desc(), static_cast<float>(scale));
}

void add(const Tensor& source, const Tensor& target, double scale) {
  Check check("add");
  check.tensor("source", source).floats();
  check.tensor("target", target).sameShape(source).floats();
  MORA_ENQUEUE(check, add, source.desc(), target.desc(), static_cast<float>(scale));
}

void multiply(const Tensor& a, const Tensor& b, const Tensor& target, double scale, bool accumulate) {
  Check check("multiply");
  check.tensor("a", a).rank(2).floats().rows();
  check.tensor("b", b).sameShape(a).dtype(DType::f32).rows();
  check.tensor("target", target).sameShape(a).dtype(DType::f32).rows();
  MORA_ENQUEUE(check, multiply, a.desc(), b.desc(), target.desc(), static_cast<float>(scale), accumulate);
}

void dequantise(const Tensor& source, const Tensor& target) {
  Check check("dequantise");
  check.tensor("source", source).that(isQuantised(source.dtype()) || isFloat(source.dtype()), "a float or block dtype");
  check.dense();
  check.tensor("target", target).sameShape(source).floats().rows();
  MORA_ENQUEUE(check, dequantise, source.desc(), target.desc());
}

void matmul(const Tensor& a, bool transposeA, const Tensor& b, bool transposeB, const Tensor& c, double alpha,
            bool accumulate) {
  Check check("matmul");
  check.tensor("c", c).that(c.rank() == 2 || c.rank() == 3, "2 or 3 dimensions").floats();
  const int64_t m = c.size(-2), n = c.size(-1);
  check.tensor("a", a).rank(c.rank()).floats();
  const int64_t k = a.size(transposeA ? -2 : -1);
  const int64_t batch = c.rank() == 3 ? c.size(0) : 1;
  const auto fits = [&](const Tensor& operand, bool transpose, int64_t rows, int64_t columns) {
    const int64_t first = transpose ? columns : rows, second = transpose ? rows : columns;
    if (operand.rank() == 3)
      check.shape({batch, first, second});
    else
      check.shape({first, second});
  };
  fits(a, transposeA, m, k);
  check.tensor("b", b).rank(c.rank());
  const bool blocks = isQuantised(b.dtype()) && transposeB && c.rank() == 2;
  check.that(b.dtype() == a.dtype() || b.dtype() == DType::f32 || blocks, [&] {
    return std::string(traitsOf(a.dtype()).name) + " or float32, or blocks where a matrix is transposed";
  });
  fits(b, transposeB, k, n);
  if (blocks) {
    check.rows();
    check.tensor("c", c).rows();
    check.tensor("a", a).rows();
  }
  check.tensor("c", c).that(a.dtype() == c.dtype() || c.dtype() == DType::f32,
                            [&] { return std::string(traitsOf(a.dtype()).name) + " or float32"; });
  MORA_ENQUEUE(check, matmul, a.desc(), transposeA, b.desc(), transposeB, c.desc(), static_cast<float>(alpha),
               accumulate);
}

void matmulInt8(const Tensor& a, const Tensor& b, bool transposeB, const Tensor& c, bool accumulate) {
  Check check("matmulInt8");
  check.tensor("b", b).rank(2).floats().rows();
  check.tensor("a", a).rank(2).floats().rows().shape({a.size(0), b.size(transposeB ? 1 : 0)});
  check.tensor("c", c).rank(2).rows().shape({a.size(0), b.size(transposeB ? 0 : 1)});
  check.that(a.dtype() == c.dtype() || c.dtype() == DType::f32,
             [&] { return std::string(traitsOf(a.dtype()).name) + " or float32"; });
  MORA_ENQUEUE(check, matmulInt8, a.desc(), b.desc(), transposeB, c.desc(), accumulate);
}

void addBias(const Tensor& bias, const Tensor& y) {
  Check check("addBias");
  check.tensor("y", y).rank(2).floats().rows();
  check.tensor("bias", bias).shape({y.size(1)}).floats().rows();
  MORA_ENQUEUE(check, addBias, bias.desc(), y.desc());
}

void columnSums(const Tensor& x, const Tensor& sums, bool accumulate) {
  Check check("columnSums");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("sums", sums).shape({x.size(1)}).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, columnSums, x.desc(), sums.desc(), accumulate);
}

void embedding(const Tensor& table, const Tensor& ids, const Tensor& y) {
  Check check("embedding");
  check.tensor("table", table).rank(2).rows();
  check.that(isFloat(table.dtype()) || isQuantised(table.dtype()), "a float or block dtype");
  check.tensor("ids", ids).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({ids.size(0), table.size(1)}).floats().rows();
  MORA_ENQUEUE(check, embedding, table.desc(), ids.desc(), y.desc());
}

void embeddingBackward(const Tensor& dY, const Tensor& ids, const Tensor& dTable) {
  Check check("embeddingBackward");
  check.tensor("dTable", dTable).rank(2).dtype(DType::f32).rows();
  check.tensor("ids", ids).rank(1).dtype(DType::i32).dense();
  check.tensor("dY", dY).shape({ids.size(0), dTable.size(1)}).floats().rows();
  MORA_ENQUEUE(check, embeddingBackward, dY.desc(), ids.desc(), dTable.desc());
}

void gatherRows(const Tensor& x, const Tensor& rows, const Tensor& y) {
  Check check("gatherRows");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({rows.size(0), x.size(1)}).dtype(x.dtype()).rows();
  MORA_ENQUEUE(check, gatherRows, x.desc(), rows.desc(), y.desc());
}

void scatterRows(const Tensor& x, const Tensor& rows, const Tensor& y) {
  Check check("scatterRows");
  check.tensor("y", y).rank(2).floats().rows();
  check.tensor("rows", rows).rank(1).dtype(DType::i32).dense();
  check.tensor("x", x).shape({rows.size(0), y.size(1)}).dtype(y.dtype()).rows();
  MORA_ENQUEUE(check, scatterRows, x.desc(), rows.desc(), y.desc());
}

void gatherColumns(const Tensor& x, const Tensor& columns, const Tensor& y, bool accumulate) {
  Check check("gatherColumns");
  check.tensor("x", x).rank(2).floats().rows();
  check.tensor("columns", columns).rank(1).dtype(DType::i32).dense();
  check.tensor("y", y).shape({x.size(0), columns.size(0)}).dtype(x.dtype()).rows();
  MORA_ENQUEUE(check, gatherColumns, x.desc(), columns.desc(), y.desc(), accumulate);
}

namespace {

/// Rows that a norm works on: of x [T, D], or of every head of x [T, heads, D]; see checkPerRow for one number of each.
void checkNormRows(Check& check, const Tensor& x, const Tensor& weight) {
  check.tensor("x", x).that(x.rank() == 2 || x.rank() == 3, "2 or 3 dimensions").floats().rows();
  check.tensor("weight", weight).shape({x.size(-1)}).dtype(DType::f32).dense();
}

void checkPerRow(Check& check, const char* name, const Tensor& perRow, const Tensor& x) {
  check.tensor(name, perRow).dtype(DType::f32).dense();
  if (x.rank() == 3)
    check.shape({x.size(0), x.size(1)});
  else
    check.shape({x.size(0)});
}

void checkRowsLike(Check& check, const char* name, const Tensor& tensor, const Tensor& x) {
  check.tensor(name, tensor).sameShape(x).dtype(x.dtype()).rows();
}

}  // namespace

void rmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, double weightOffset, double epsilon,
             const Tensor& y, const Tensor& rstd) {
  Check check("rmsNorm");
  checkNormRows(check, x, weight);
  if (residual) checkRowsLike(check, "residual", residual, x);
  if (y) checkRowsLike(check, "y", y, x);
  if (rstd) checkPerRow(check, "rstd", rstd, x);
  MORA_ENQUEUE(check, rmsNorm, x.desc(), optional(residual), weight.desc(), static_cast<float>(weightOffset),
               static_cast<float>(epsilon), optional(y), optional(rstd));
}

void rmsNormApply(const Tensor& x, const Tensor& weight, double weightOffset, const Tensor& rstd, const Tensor& y) {
  Check check("rmsNormApply");
  checkNormRows(check, x, weight);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "y", y, x);
  MORA_ENQUEUE(check, rmsNormApply, x.desc(), weight.desc(), static_cast<float>(weightOffset), rstd.desc(), y.desc());
}

void rmsNormBackward(const Tensor& dY, const Tensor& x, const Tensor& weight, double weightOffset, const Tensor& rstd,
                     const Tensor& dX, bool accumulate, const Tensor& dWeight) {
  Check check("rmsNormBackward");
  checkNormRows(check, x, weight);
  checkRowsLike(check, "dY", dY, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "dX", dX, x);
  if (dWeight) check.tensor("dWeight", dWeight).sameShape(weight).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, rmsNormBackward, dY.desc(), x.desc(), weight.desc(), static_cast<float>(weightOffset),
               rstd.desc(), dX.desc(), accumulate, optional(dWeight));
}

void layerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, const Tensor& y,
               const Tensor& mean, const Tensor& rstd) {
  Check check("layerNorm");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  if (bias) check.tensor("bias", bias).sameShape(weight).dtype(DType::f32).dense();
  checkRowsLike(check, "y", y, x);
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  MORA_ENQUEUE(check, layerNorm, x.desc(), weight.desc(), optional(bias), static_cast<float>(epsilon), y.desc(),
               mean.desc(), rstd.desc());
}

void layerNormApply(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& rstd,
                    const Tensor& y) {
  Check check("layerNormApply");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  if (bias) check.tensor("bias", bias).sameShape(weight).dtype(DType::f32).dense();
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "y", y, x);
  MORA_ENQUEUE(check, layerNormApply, x.desc(), weight.desc(), optional(bias), mean.desc(), rstd.desc(), y.desc());
}

void layerNormBackward(const Tensor& dY, const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                       const Tensor& dX, bool accumulate, const Tensor& dWeight, const Tensor& dBias) {
  Check check("layerNormBackward");
  checkNormRows(check, x, weight);
  check.tensor("x", x).rank(2);
  checkRowsLike(check, "dY", dY, x);
  checkPerRow(check, "mean", mean, x);
  checkPerRow(check, "rstd", rstd, x);
  checkRowsLike(check, "dX", dX, x);
  if (dWeight) check.tensor("dWeight", dWeight).sameShape(weight).dtype(DType::f32).dense();
  if (dBias) check.tensor("dBias", dBias).sameShape(weight).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, layerNormBackward, dY.desc(), x.desc(), weight.desc(), mean.desc(), rstd.desc(), dX.desc(),
               accumulate, optional(dWeight), optional(dBias));
}

void rope(const Tensor& x, const Tensor& positions, const Tensor& cosines, const Tensor& sines, bool inverse) {
  Check check("rope");
  check.tensor("x", x).rank(3).floats().rows();
  check.tensor("positions", positions).shape({x.size(0)}).dtype(DType::i32).dense();
  check.tensor("cosines", cosines).rank(2).dtype(DType::f32).dense();
  check.that(2 * cosines.size(1) <= x.size(2), [&] { return "at most " + std::to_string(x.size(2) / 2) + " columns"; });
  check.tensor("sines", sines).sameShape(cosines).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, rope, x.desc(), positions.desc(), cosines.desc(), sines.desc(), inverse);
}

void activation(Activation f, const Tensor& gate, const Tensor& up, const Tensor& y) {
  Check check("activation");
  check.tensor("gate", gate).rank(2).floats().rows();
  if (up) checkRowsLike(check, "up", up, gate);
  checkRowsLike(check, "y", y, gate);
  MORA_ENQUEUE(check, activation, f, gate.desc(), optional(up), y.desc());
}

void activationBackward(Activation f, const Tensor& dY, const Tensor& gate, const Tensor& up, const Tensor& dGate,
                        const Tensor& dUp) {
  Check check("activationBackward");
  check.tensor("gate", gate).rank(2).floats().rows();
  checkRowsLike(check, "dY", dY, gate);
  checkRowsLike(check, "dGate", dGate, gate);
  if (up || dUp) {
    checkRowsLike(check, "up", up, gate);
    checkRowsLike(check, "dUp", dUp, gate);
  }
  MORA_ENQUEUE(check, activationBackward, f, dY.desc(), gate.desc(), optional(up), dGate.desc(), optional(dUp));
}

void dropout(const Tensor& x, const Tensor& rowKeys, DropoutKey key, const Tensor& y) {
  Check check("dropout");
  check.tensor("x", x).rank(2).floats().rows();
  check.that(key.probability >= 0 && key.probability < 1, "a probability in [0, 1)");
  check.tensor("rowKeys", rowKeys).shape({x.size(0)}).dtype(DType::i64).dense();
  check.tensor("y", y).sameShape(x).dtype(x.dtype()).rows();
  MORA_ENQUEUE(check, dropout, x.desc(), rowKeys.desc(), key, y.desc());
}

namespace {

void checkAttention(Check& check, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& queryOffsets,
                    const Tensor& keyOffsets, AttentionScoring scoring) {
  const auto require = [&](bool holds, const char* expected, double received) {
    if (holds) return;
    throw Error("invalid-argument", std::string(check.operation()) + ": expected " + expected + " but received " +
                                        std::to_string(received) + ".");
  };
  require(scoring.scale > 0 && std::isfinite(scoring.scale), "a positive finite scale", scoring.scale);
  require(scoring.softcap >= 0 && std::isfinite(scoring.softcap), "a softcap of 0 or more", scoring.softcap);
  require(scoring.window >= 0, "a window of 0 or more keys", static_cast<double>(scoring.window));
  check.tensor("q", q).rank(3).floats().rows();
  check.tensor("k", k).rank(3).dtype(q.dtype()).rows().that(k.size(2) == q.size(2), "the head size of q");
  check.that(k.size(1) > 0 && q.size(1) % k.size(1) == 0,
             [&] { return "a divisor of " + std::to_string(q.size(1)) + " heads"; });
  check.tensor("v", v).sameShape(k).dtype(q.dtype()).rows();
  check.tensor("queryOffsets", queryOffsets).rank(1).dtype(DType::i32).dense();
  check.that(queryOffsets.size(0) >= 1, "at least one offset");
  check.tensor("keyOffsets", keyOffsets).sameShape(queryOffsets).dtype(DType::i32).dense();
}

}  // namespace

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& queryOffsets, const Tensor& keyOffsets,
               AttentionScoring scoring, const Tensor& out, const Tensor& lse) {
  Check check("attention");
  checkAttention(check, q, k, v, queryOffsets, keyOffsets, scoring);
  check.tensor("out", out).sameShape(q).dtype(q.dtype()).rows();
  if (lse) check.tensor("lse", lse).shape({q.size(1), q.size(0)}).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, attention, q.desc(), k.desc(), v.desc(), queryOffsets.desc(), keyOffsets.desc(), scoring,
               out.desc(), optional(lse));
}

void attentionBackward(const Tensor& dOut, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                       const Tensor& lse, const Tensor& queryOffsets, const Tensor& keyOffsets,
                       AttentionScoring scoring, const Tensor& dQ, const Tensor& dK, const Tensor& dV) {
  Check check("attentionBackward");
  checkAttention(check, q, k, v, queryOffsets, keyOffsets, scoring);
  check.tensor("dOut", dOut).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("out", out).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("lse", lse).shape({q.size(1), q.size(0)}).dtype(DType::f32).dense();
  check.tensor("dQ", dQ).sameShape(q).dtype(q.dtype()).rows();
  check.tensor("dK", dK).sameShape(k).dtype(q.dtype()).rows();
  check.tensor("dV", dV).sameShape(k).dtype(q.dtype()).rows();
  MORA_ENQUEUE(check, attentionBackward, dOut.desc(), q.desc(), k.desc(), v.desc(), out.desc(), lse.desc(),
               queryOffsets.desc(), keyOffsets.desc(), scoring, dQ.desc(), dK.desc(), dV.desc());
}

void crossEntropy(const Tensor& logits, const Tensor& targets, double softcap, const Tensor& losses,
                  const Tensor& dLogits) {
  Check check("crossEntropy");
  check.tensor("logits", logits).rank(2).floats().rows();
  check.that(softcap >= 0 && std::isfinite(softcap), "a softcap of 0 or more");
  check.tensor("targets", targets).shape({logits.size(0)}).dtype(DType::i32).dense();
  check.tensor("losses", losses).shape({logits.size(0)}).dtype(DType::f32).dense();
  if (dLogits) check.tensor("dLogits", dLogits).sameShape(logits).floats().rows();
  MORA_ENQUEUE(check, crossEntropy, logits.desc(), targets.desc(), static_cast<float>(softcap), losses.desc(),
               optional(dLogits));
}

void capLogits(const Tensor& logits, double softcap) {
  Check check("capLogits");
  check.tensor("logits", logits).rank(2).floats().rows();
  check.that(softcap > 0 && std::isfinite(softcap), "a positive softcap");
  MORA_ENQUEUE(check, capLogits, logits.desc(), static_cast<float>(softcap));
}

void sum(const Tensor& x, const Tensor& total, bool accumulate) {
  Check check("sum");
  check.tensor("x", x).floats().dense();
  check.tensor("total", total).shape({1}).dtype(DType::f32);
  MORA_ENQUEUE(check, sum, x.desc(), total.desc(), accumulate);
}

namespace {

void checkChoice(Check& check, const Tensor& logits, const Tensor& ids) {
  check.tensor("logits", logits)
      .rank(2)
      .floats()
      .rows()
      .that(logits.size(1) > 0 && logits.size(1) <= std::numeric_limits<int32_t>::max(), "1 to 2147483647 columns");
  check.tensor("ids", ids).shape({logits.size(0)}).dtype(DType::i32).dense();
}

}  // namespace

void argmax(const Tensor& logits, const Tensor& ids) {
  Check check("argmax");
  checkChoice(check, logits, ids);
  MORA_ENQUEUE(check, argmax, logits.desc(), ids.desc());
}

void sample(const Tensor& logits, const Tensor& draws, Sampling sampling, const Tensor& ids) {
  Check check("sample");
  checkChoice(check, logits, ids);
  check.tensor("logits", logits)
      .that(sampling.temperature > 0 && std::isfinite(sampling.temperature), "a positive finite temperature")
      .that(sampling.topK >= 0, "a topK of at least 0")
      .that(sampling.topP > 0 && sampling.topP <= 1, "a topP in (0, 1]");
  check.tensor("draws", draws).shape({logits.size(0)}).dtype(DType::i64).dense();
  MORA_ENQUEUE(check, sample, logits.desc(), draws.desc(), sampling, ids.desc());
}

namespace {

std::vector<AdamWTensor> listOf(Check& check, const std::vector<Tensor>& parameters,
                                const std::vector<Tensor>& gradients, const std::vector<Tensor>& firstMoments,
                                const std::vector<Tensor>& secondMoments) {
  std::vector<AdamWTensor> list;
  list.reserve(gradients.size());
  const auto data = [&](const char* name, const std::vector<Tensor>& tensors, size_t i, int64_t count) -> float* {
    if (tensors.empty()) return nullptr;
    check.tensor(name, tensors[i]).dtype(DType::f32).dense();
    check.that(tensors[i].elements() == count, [&] { return std::to_string(count) + " elements"; });
    return static_cast<float*>(tensors[i].desc().data);
  };
  for (size_t i = 0; i < gradients.size(); ++i) {
    const int64_t count = gradients[i] ? gradients[i].elements() : 0;
    const float* gradient = data("gradients", gradients, i, count);
    list.push_back({data("parameters", parameters, i, count), gradient, data("firstMoments", firstMoments, i, count),
                    data("secondMoments", secondMoments, i, count), count});
  }
  return list;
}

}  // namespace

void globalNorm(const std::vector<Tensor>& gradients, const Tensor& norm) {
  Check check("globalNorm");
  check.tensor("norm", norm).shape({1}).dtype(DType::f32);
  const auto list = listOf(check, {}, gradients, {}, {});
  MORA_ENQUEUE(check, globalNorm, list.data(), static_cast<int64_t>(list.size()), norm.desc());
}

void clipScale(const Tensor& norm, double gradientScale, double maxNorm, const Tensor& scale) {
  Check check("clipScale");
  check.tensor("norm", norm).shape({1}).dtype(DType::f32);
  check.tensor("scale", scale).shape({1}).dtype(DType::f32);
  MORA_ENQUEUE(check, clipScale, norm.desc(), static_cast<float>(gradientScale), static_cast<float>(maxNorm),
               scale.desc());
}

void adamw(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
           const std::vector<Tensor>& firstMoments, const std::vector<Tensor>& secondMoments, AdamWStep step,
           const Tensor& scale) {
  Check check("adamw");
  check.tensor("scale", scale).shape({1}).dtype(DType::f32);
  const auto requireAll = [&](const char* name, const std::vector<Tensor>& tensors) {
    if (tensors.size() != gradients.size())
      throw Error("invalid-argument", std::string(check.operation()) + ": expected " +
                                          std::to_string(gradients.size()) + " " + name + " but received " +
                                          std::to_string(tensors.size()) + ".");
  };
  requireAll("parameters", parameters);
  requireAll("firstMoments", firstMoments);
  requireAll("secondMoments", secondMoments);
  const auto list = listOf(check, parameters, gradients, firstMoments, secondMoments);
  MORA_ENQUEUE(check, adamw, list.data(), static_cast<int64_t>(list.size()), step, scale.desc());
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

int64_t foldedSide(BlockPlan plan, DType dtype, const Device& device) {
  requirePlan("foldedSide", plan);
  return device.backend().foldedSide(plan, dtype);
}

void foldBlocks(BlockPlan plan, const Tensor& matrix, const Tensor& folded) {
  requirePlan("foldBlocks", plan);
  Check check("foldBlocks");
  check.tensor("matrix", matrix).shape({plan.side, plan.side}).dtype(DType::f32).dense();
  check.tensor("folded", folded).floats();
  checkFolded(check, "folded", folded, plan, folded.dtype());
  MORA_ENQUEUE(check, foldBlocks, plan, matrix.desc(), folded.desc());
}

void unfoldBlocks(BlockPlan plan, const Tensor& dFolded, const Tensor& dMatrix, bool accumulate) {
  requirePlan("unfoldBlocks", plan);
  Check check("unfoldBlocks");
  check.tensor("dFolded", dFolded).dtype(DType::f32);
  checkFolded(check, "dFolded", dFolded, plan, DType::bf16);
  check.tensor("dMatrix", dMatrix).shape({plan.side, plan.side}).dtype(DType::f32).dense();
  MORA_ENQUEUE(check, unfoldBlocks, plan, dFolded.desc(), dMatrix.desc(), accumulate);
}

void blocksForward(BlockPlan plan, const Tensor& x, const Tensor& folded, const Tensor& y, bool accumulate) {
  requirePlan("blocksForward", plan);
  Check check("blocksForward");
  check.tensor("x", x).rank(2).floats().rows().that(x.size(1) == plan.inFeatures,
                                                    [&] { return std::to_string(plan.inFeatures) + " columns"; });
  check.tensor("folded", folded).dtype(x.dtype());
  checkFolded(check, "folded", folded, plan, x.dtype());
  check.tensor("y", y).shape({x.size(0), plan.outFeatures}).floats().rows();
  MORA_ENQUEUE(check, blocksForward, plan, x.desc(), folded.desc(), y.desc(), accumulate);
}

void blocksBackwardInput(BlockPlan plan, const Tensor& dY, const Tensor& folded, const Tensor& dX, bool accumulate) {
  requirePlan("blocksBackwardInput", plan);
  Check check("blocksBackwardInput");
  checkOutputGradient(check, plan, dY);
  check.tensor("folded", folded).dtype(dY.dtype());
  checkFolded(check, "folded", folded, plan, dY.dtype());
  check.tensor("dX", dX).shape({dY.size(0), plan.inFeatures}).floats().rows();
  MORA_ENQUEUE(check, blocksBackwardInput, plan, dY.desc(), folded.desc(), dX.desc(), accumulate);
}

void blocksBackwardWeight(BlockPlan plan, const Tensor& x, const Tensor& dY, const Tensor& dFolded) {
  requirePlan("blocksBackwardWeight", plan);
  Check check("blocksBackwardWeight");
  check.tensor("x", x).rank(2).floats().rows().that(x.size(1) == plan.inFeatures,
                                                    [&] { return std::to_string(plan.inFeatures) + " columns"; });
  checkOutputGradient(check, plan, dY);
  check.shape({x.size(0), dY.size(1)}).dtype(x.dtype());
  check.tensor("dFolded", dFolded).dtype(DType::f32);
  checkFolded(check, "dFolded", dFolded, plan, x.dtype());
  MORA_ENQUEUE(check, blocksBackwardWeight, plan, x.desc(), dY.desc(), dFolded.desc());
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

void mergeBlocks(BlockPlan plan, const Tensor& folded, double scale, const Tensor& weight, const Tensor& nonFinite) {
  requirePlan("mergeBlocks", plan);
  Check check("mergeBlocks");
  check.tensor("folded", folded).shape({plan.liveBlocks(), plan.side, plan.side}).dtype(DType::f32).dense();
  checkMerge(check, weight, plan.outFeatures, plan.inFeatures, nonFinite);
  MORA_ENQUEUE(check, mergeBlocks, plan, folded.desc(), static_cast<float>(scale), weight.desc(), optional(nonFinite));
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
