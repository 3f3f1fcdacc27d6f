// The operations of the CUDA backend: one launcher per operation of core/backend.h under the same name. They enqueue
// onto the context's stream and return; an argument that is absent has a null `data`. Every tensor is device memory.
#pragma once
#include "core/backend.h"
#include "cuda/context.h"

namespace mora::cuda {

// copies.cu
void fill(Context& context, TensorDesc target, double value);
void copy(Context& context, TensorDesc source, TensorDesc target, float scale);
void add(Context& context, TensorDesc source, TensorDesc target, float scale);
// multiply.cu
void multiply(Context& context, TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate);
/// For matmul: target [rows, columns] = (accumulate ? target : 0) + scale a b of one element b, which has the dtype of
/// a.
void multiplyByElement(Context& context, TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate);
// dequantise.cu
void dequantise(Context& context, TensorDesc source, TensorDesc target);
// matmul.cpp
void matmul(Context& context, TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha,
            bool accumulate);
void matmulInt8(Context& context, TensorDesc a, TensorDesc b, bool transposeB, TensorDesc c, bool accumulate);
// bias.cu
void addBias(Context& context, TensorDesc bias, TensorDesc y);
void columnSums(Context& context, TensorDesc x, TensorDesc sums, bool accumulate);
// rows.cu
void embedding(Context& context, TensorDesc table, TensorDesc ids, TensorDesc y);
void embeddingBackward(Context& context, TensorDesc dY, TensorDesc ids, TensorDesc dTable);
void gatherRows(Context& context, TensorDesc x, TensorDesc rows, TensorDesc y);
void scatterRows(Context& context, TensorDesc x, TensorDesc rows, TensorDesc y);
void gatherColumns(Context& context, TensorDesc x, TensorDesc columns, TensorDesc y, bool accumulate);
// rms_norm.cu
void rmsNorm(Context& context, TensorDesc x, TensorDesc residual, TensorDesc weight, float weightOffset, float epsilon,
             TensorDesc y, TensorDesc rstd);
void rmsNormApply(Context& context, TensorDesc x, TensorDesc weight, float weightOffset, TensorDesc rstd, TensorDesc y);
void rmsNormBackward(Context& context, TensorDesc dY, TensorDesc x, TensorDesc weight, float weightOffset,
                     TensorDesc rstd, TensorDesc dX, bool accumulate, TensorDesc dWeight);
// layer_norm.cu
void layerNorm(Context& context, TensorDesc x, TensorDesc weight, TensorDesc bias, float epsilon, TensorDesc y,
               TensorDesc mean, TensorDesc rstd);
void layerNormApply(Context& context, TensorDesc x, TensorDesc weight, TensorDesc bias, TensorDesc mean,
                    TensorDesc rstd, TensorDesc y);
void layerNormBackward(Context& context, TensorDesc dY, TensorDesc x, TensorDesc weight, TensorDesc mean,
                       TensorDesc rstd, TensorDesc dX, bool accumulate, TensorDesc dWeight, TensorDesc dBias);
// rope.cu
void rope(Context& context, TensorDesc x, TensorDesc positions, TensorDesc cosines, TensorDesc sines, bool inverse);
// activation.cu
void activation(Context& context, Activation f, TensorDesc gate, TensorDesc up, TensorDesc y);
void activationBackward(Context& context, Activation f, TensorDesc dY, TensorDesc gate, TensorDesc up, TensorDesc dGate,
                        TensorDesc dUp);
// dropout.cu
void dropout(Context& context, TensorDesc x, TensorDesc rowKeys, DropoutKey key, TensorDesc y);
// attention.cu
void attention(Context& context, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc queryOffsets,
               TensorDesc keyOffsets, AttentionScoring scoring, TensorDesc out, TensorDesc lse);
void attentionBackward(Context& context, TensorDesc dOut, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc out,
                       TensorDesc lse, TensorDesc queryOffsets, TensorDesc keyOffsets, AttentionScoring scoring,
                       TensorDesc dQ, TensorDesc dK, TensorDesc dV);
// cross_entropy.cu
void crossEntropy(Context& context, TensorDesc logits, TensorDesc targets, float softcap, TensorDesc losses,
                  TensorDesc dLogits);
void capLogits(Context& context, TensorDesc logits, float softcap);
// sampling.cu
void argmax(Context& context, TensorDesc logits, TensorDesc ids);
void sample(Context& context, TensorDesc logits, TensorDesc draws, Sampling sampling, TensorDesc ids);
// reductions.cu
void sum(Context& context, TensorDesc x, TensorDesc total, bool accumulate);
void countNonFinite(Context& context, TensorDesc x, TensorDesc count, bool accumulate);
void largestDifference(Context& context, TensorDesc a, TensorDesc b, TensorDesc largest, bool accumulate);
// adamw.cu
void globalNorm(Context& context, const AdamWTensor* tensors, int64_t count, TensorDesc norm);
void clipScale(Context& context, TensorDesc norm, float gradientScale, float maxNorm, TensorDesc scale);
void adamw(Context& context, const AdamWTensor* tensors, int64_t count, AdamWStep step, TensorDesc scale);
// mora_groups.cu
void groupSum(Context& context, Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate);
void groupSpread(Context& context, Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate);
void mergeGroups(Context& context, Grouping input, Grouping output, TensorDesc matrix, float scale, TensorDesc weight,
                 TensorDesc nonFinite);
// mora_blocks.cu
int64_t foldedSide(BlockPlan plan, DType dtype);
void foldBlocks(Context& context, BlockPlan plan, TensorDesc matrix, TensorDesc folded);
void unfoldBlocks(Context& context, BlockPlan plan, TensorDesc dFolded, TensorDesc dMatrix, bool accumulate);
void blocksForward(Context& context, BlockPlan plan, TensorDesc x, TensorDesc folded, TensorDesc y, bool accumulate);
void blocksBackwardInput(Context& context, BlockPlan plan, TensorDesc dY, TensorDesc folded, TensorDesc dX,
                         bool accumulate);
void blocksBackwardWeight(Context& context, BlockPlan plan, TensorDesc x, TensorDesc dY, TensorDesc dFolded);
void mergeBlocks(Context& context, BlockPlan plan, TensorDesc folded, float scale, TensorDesc weight,
                 TensorDesc nonFinite);
// merge_factors.cu
void mergeFactors(Context& context, TensorDesc b, TensorDesc a, float scale, TensorDesc weight, TensorDesc nonFinite);

}  // namespace mora::cuda
