// Every operation with its arguments checked: shapes, dtypes and devices must fit, or an Error names the operation,
// what was expected and what came. Then it is enqueued. Outputs are arguments. Semantics: core/backend.h, same names.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace mora::operations {

void fill(const Tensor& target, double value);
void copy(const Tensor& source, const Tensor& target, double scale);
void add(const Tensor& source, const Tensor& target, double scale);
void multiply(const Tensor& a, const Tensor& b, const Tensor& target, double scale, bool accumulate);
void dequantise(const Tensor& source, const Tensor& target);

void matmul(const Tensor& a, bool transposeA, const Tensor& b, bool transposeB, const Tensor& c, double alpha,
            bool accumulate);
void matmulInt8(const Tensor& a, const Tensor& b, bool transposeB, const Tensor& c, bool accumulate);
void addBias(const Tensor& bias, const Tensor& y);
void columnSums(const Tensor& x, const Tensor& sums, bool accumulate);

void embedding(const Tensor& table, const Tensor& ids, const Tensor& y);
void embeddingBackward(const Tensor& dY, const Tensor& ids, const Tensor& dTable);
void gatherRows(const Tensor& x, const Tensor& rows, const Tensor& y);
void scatterRows(const Tensor& x, const Tensor& rows, const Tensor& y);
void gatherColumns(const Tensor& x, const Tensor& columns, const Tensor& y, bool accumulate);

void rmsNorm(const Tensor& x, const Tensor& residual, const Tensor& weight, double weightOffset, double epsilon,
             const Tensor& y, const Tensor& rstd);
void rmsNormApply(const Tensor& x, const Tensor& weight, double weightOffset, const Tensor& rstd, const Tensor& y);
void rmsNormBackward(const Tensor& dY, const Tensor& x, const Tensor& weight, double weightOffset, const Tensor& rstd,
                     const Tensor& dX, bool accumulate, const Tensor& dWeight);
void layerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon, const Tensor& y,
               const Tensor& mean, const Tensor& rstd);
void layerNormApply(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& rstd,
                    const Tensor& y);
void layerNormBackward(const Tensor& dY, const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                       const Tensor& dX, bool accumulate, const Tensor& dWeight, const Tensor& dBias);
void rope(const Tensor& x, const Tensor& positions, const Tensor& cosines, const Tensor& sines, bool inverse);
void activation(Activation f, const Tensor& gate, const Tensor& up, const Tensor& y);
void activationBackward(Activation f, const Tensor& dY, const Tensor& gate, const Tensor& up, const Tensor& dGate,
                        const Tensor& dUp);
void dropout(const Tensor& x, const Tensor& rowKeys, DropoutKey key, const Tensor& y);

void attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& queryOffsets, const Tensor& keyOffsets,
               AttentionScoring scoring, const Tensor& out, const Tensor& lse);
void attentionBackward(const Tensor& dOut, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                       const Tensor& lse, const Tensor& queryOffsets, const Tensor& keyOffsets,
                       AttentionScoring scoring, const Tensor& dQ, const Tensor& dK, const Tensor& dV);

void crossEntropy(const Tensor& logits, const Tensor& targets, double softcap, const Tensor& losses,
                  const Tensor& dLogits);
void capLogits(const Tensor& logits, double softcap);
void sum(const Tensor& x, const Tensor& total, bool accumulate);

void argmax(const Tensor& logits, const Tensor& ids);
void sample(const Tensor& logits, const Tensor& draws, Sampling sampling, const Tensor& ids);

void globalNorm(const std::vector<Tensor>& gradients, const Tensor& norm);
void clipScale(const Tensor& norm, double gradientScale, double maxNorm, const Tensor& scale);
void adamw(const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
           const std::vector<Tensor>& firstMoments, const std::vector<Tensor>& secondMoments, AdamWStep step,
           const Tensor& scale);
void countNonFinite(const Tensor& x, const Tensor& count, bool accumulate);
void largestDifference(const Tensor& a, const Tensor& b, const Tensor& largest, bool accumulate);

void groupSum(Grouping grouping, const Tensor& source, const Tensor& target, bool accumulate);
void groupSpread(Grouping grouping, const Tensor& source, const Tensor& target, bool accumulate);
int64_t foldedSide(BlockPlan plan, DType dtype, const Device& device);
void foldBlocks(BlockPlan plan, const Tensor& matrix, const Tensor& folded);
void unfoldBlocks(BlockPlan plan, const Tensor& dFolded, const Tensor& dMatrix, bool accumulate);
void blocksForward(BlockPlan plan, const Tensor& x, const Tensor& folded, const Tensor& y, bool accumulate);
void blocksBackwardInput(BlockPlan plan, const Tensor& dY, const Tensor& folded, const Tensor& dX, bool accumulate);
void blocksBackwardWeight(BlockPlan plan, const Tensor& x, const Tensor& dY, const Tensor& dFolded);
void mergeGroups(Grouping input, Grouping output, const Tensor& matrix, double scale, const Tensor& weight,
                 const Tensor& nonFinite);
void mergeBlocks(BlockPlan plan, const Tensor& folded, double scale, const Tensor& weight, const Tensor& nonFinite);
void mergeFactors(const Tensor& b, const Tensor& a, double scale, const Tensor& weight, const Tensor& nonFinite);

}  // namespace mora::operations
