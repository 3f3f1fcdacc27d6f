// The arithmetic of the CPU backend: one function per operation of core/backend.h under the same name, without the
// stream. They run on the stream's worker thread, use its team inside, and throw on failure.
//
// An argument that is absent has a null `data`. Results do not depend on how the team shares them: every reduction has
// a fixed order for a fixed thread count.
#pragma once
#include "core/backend.h"

namespace mora::cpu {

// copies.cpp
void fill(TensorDesc target, double value);
void copy(TensorDesc source, TensorDesc target, float scale);
void add(TensorDesc source, TensorDesc target, float scale);
// multiply.cpp
void multiply(TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate);
// dequantise.cpp
void dequantise(TensorDesc source, TensorDesc target);
// matmul.cpp
void matmul(TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha, bool accumulate);
// int8_products.cpp
void matmulInt8(TensorDesc a, TensorDesc b, bool transposeB, TensorDesc c, bool accumulate);
// bias.cpp
void addBias(TensorDesc bias, TensorDesc y);
void columnSums(TensorDesc x, TensorDesc sums, bool accumulate);
// rows.cpp
void embedding(TensorDesc table, TensorDesc ids, TensorDesc y);
void embeddingBackward(TensorDesc dY, TensorDesc ids, TensorDesc dTable);
void gatherRows(TensorDesc x, TensorDesc rows, TensorDesc y);
void scatterRows(TensorDesc x, TensorDesc rows, TensorDesc y);
void gatherColumns(TensorDesc x, TensorDesc columns, TensorDesc y, bool accumulate);
// rms_norm.cpp
void rmsNorm(TensorDesc x, TensorDesc residual, TensorDesc weight, float weightOffset, float epsilon, TensorDesc y,
             TensorDesc rstd);
void rmsNormApply(TensorDesc x, TensorDesc weight, float weightOffset, TensorDesc rstd, TensorDesc y);
void rmsNormBackward(TensorDesc dY, TensorDesc x, TensorDesc weight, float weightOffset, TensorDesc rstd, TensorDesc dX,
                     bool accumulate, TensorDesc dWeight);
// layer_norm.cpp
void layerNorm(TensorDesc x, TensorDesc weight, TensorDesc bias, float epsilon, TensorDesc y, TensorDesc mean,
               TensorDesc rstd);
void layerNormApply(TensorDesc x, TensorDesc weight, TensorDesc bias, TensorDesc mean, TensorDesc rstd, TensorDesc y);
void layerNormBackward(TensorDesc dY, TensorDesc x, TensorDesc weight, TensorDesc mean, TensorDesc rstd, TensorDesc dX,
                       bool accumulate, TensorDesc dWeight, TensorDesc dBias);
// rope.cpp
void rope(TensorDesc x, TensorDesc positions, TensorDesc cosines, TensorDesc sines, bool inverse);
// activation.cpp
void activation(Activation f, TensorDesc gate, TensorDesc up, TensorDesc y);
void activationBackward(Activation f, TensorDesc dY, TensorDesc gate, TensorDesc up, TensorDesc dGate, TensorDesc dUp);
// dropout.cpp
void dropout(TensorDesc x, TensorDesc rowKeys, DropoutKey key, TensorDesc y);
// attention.cpp
void attention(TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc queryOffsets, TensorDesc keyOffsets,
               AttentionScoring scoring, TensorDesc out, TensorDesc lse);
void attentionBackward(TensorDesc dOut, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc out, TensorDesc lse,
                       TensorDesc queryOffsets, TensorDesc keyOffsets, AttentionScoring scoring, TensorDesc dQ,
                       TensorDesc dK, TensorDesc dV);
// cross_entropy.cpp
void crossEntropy(TensorDesc logits, TensorDesc targets, float softcap, TensorDesc losses, TensorDesc dLogits);
void capLogits(TensorDesc logits, float softcap);
// sampling.cpp
void argmax(TensorDesc logits, TensorDesc ids);
void sample(TensorDesc logits, TensorDesc draws, Sampling sampling, TensorDesc ids);
// reductions.cpp
void sum(TensorDesc x, TensorDesc total, bool accumulate);
void countNonFinite(TensorDesc x, TensorDesc count, bool accumulate);
void largestDifference(TensorDesc a, TensorDesc b, TensorDesc largest, bool accumulate);
// adamw.cpp
void globalNorm(const AdamWTensor* tensors, int64_t count, TensorDesc norm);
void clipScale(TensorDesc norm, float gradientScale, float maxNorm, TensorDesc scale);
void adamw(const AdamWTensor* tensors, int64_t count, AdamWStep step, TensorDesc scale);
// mora_groups.cpp
/// Also of bf16 or f16 into f32.
void groupSum(Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate);
void groupSpread(Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate);
void mergeGroups(Grouping input, Grouping output, TensorDesc matrix, float scale, TensorDesc weight,
                 TensorDesc nonFinite);
// mora_blocks.cpp
void foldBlocks(BlockPlan plan, TensorDesc matrix, TensorDesc folded);
void unfoldBlocks(BlockPlan plan, TensorDesc dFolded, TensorDesc dMatrix, bool accumulate);
void blocksForward(BlockPlan plan, TensorDesc x, TensorDesc folded, TensorDesc y, bool accumulate);
void blocksBackwardInput(BlockPlan plan, TensorDesc dY, TensorDesc folded, TensorDesc dX, bool accumulate);
void blocksBackwardWeight(BlockPlan plan, TensorDesc x, TensorDesc dY, TensorDesc dFolded);
void mergeBlocks(BlockPlan plan, TensorDesc folded, float scale, TensorDesc weight, TensorDesc nonFinite);
// merge_factors.cpp
void mergeFactors(TensorDesc b, TensorDesc a, float scale, TensorDesc weight, TensorDesc nonFinite);

}  // namespace mora::cpu
