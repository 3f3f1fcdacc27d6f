// The contract between the core and a device: a C table of functions over plain descriptors. Nothing of the
// standard library and no exception crosses it, because a backend may be a shared library built elsewhere.
//
// A backend executes in order on a stream. Every operation below copies its descriptors, enqueues and returns;
// shapes, dtypes and devices were checked by core/operations before. What fails later, on the stream, is
// reported to the next callback. Memory is stream-ordered: a released block may be handed out again at once,
// because whatever uses it next is enqueued after whatever used it before.
//
// Letters: T tokens (rows of activations), D hidden, H query heads, K key-value heads, E head size, V vocabulary,
// R side of MoRA's square matrix, B documents of a packed batch.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "mora/geometry.h"

namespace mora {

constexpr uint32_t kBackendAbi = 8;
constexpr int kMaxRank = 4;

/// A strided view of device memory. Strides count elements; a block format is dense in its last dimension.
struct TensorDesc {
  void* data;
  DType dtype;
  int32_t rank;
  int64_t shape[kMaxRank];
  int64_t strides[kMaxRank];
};

enum class Status : int32_t { ok = 0, invalidArgument, unsupported, outOfMemory, failed };

struct Stream;  // opaque, one per device: owns its queue, its allocator and its library handles

struct MemoryFigures {
  uint64_t inUse;    // bytes in live blocks and of working space
  uint64_t peak;     // highest inUse since the last reset
  uint64_t cached;   // bytes held from the system and not in use
  uint64_t limit;    // allocations past this fail; 0 is no limit
  uint64_t working;  // of inUse: what operations keep for themselves from one to the next
};

struct DeviceFacts {
  char name[256];
  uint64_t totalMemory;
  int32_t threads;       // worker threads, or multiprocessors
  int32_t fastBfloat16;  // 1 where bf16 products are faster than f32
  int32_t int8Products;  // 1 where matmulInt8 is there
  char detail[512];      // instruction sets, compute capability
};

/// What went wrong on the stream, with the operation's name; message is empty when nothing did.
struct StreamError {
  Status status;
  char operation[64];
  char message[448];
};

/// Identity of a dropout mask: the mask of element (row, column) is a function of this and of rowKeys[row] only,
/// so it depends neither on micro-batches nor on packing. Philox4x32-10, see core/philox.h.
struct DropoutKey {
  uint32_t key[2];
  float probability;  // of dropping
};

/// How a token is drawn: from softmax(logits / temperature) over the topK likeliest tokens (0: all), and of these over
/// the fewest likeliest that have at least topP of their probability together (1: all). Of equal ones, lower ids come
/// first.
struct Sampling {
  double temperature;
  int64_t topK;
  double topP;
};

/// Elementwise functions f: silu(x) = x sigmoid(x), gelu(x) = x Phi(x) with the normal distribution's Phi, geluTanh its
/// approximation x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (arXiv 1606.08415), relu(x) = max(x, 0).
enum class Activation : int32_t { silu = 0, gelu, geluTanh, relu };

/// What attention makes of the products of a query with keys, score = scale q.k: with a softcap c > 0 it becomes
/// c tanh(score / c) (Gemma 2); with a window w > 0 a query sees its own key and the w - 1 before it only.
struct AttentionScoring {
  float scale, softcap;
  int64_t window;

  /// What the softmax multiplies (capped) scores with.
  float softmaxScale() const { return softcap > 0 ? 1.0f : scale; }
  /// The most keys that a query sees of `keys`.
  int64_t mostVisible(int64_t keys) const { return window > 0 && window < keys ? window : keys; }
};

/// Not yet rounded to float32: 1 - beta of a rounded beta2 = 0.999 would be off by 1e-5 of itself.
struct AdamWStep {
  double learningRate, beta1, beta2, epsilon, weightDecay;
  double biasCorrection1, biasCorrection2;  // 1 - beta^step
};

/// One trained tensor of a list; all four have `count` dense float32 elements.
struct AdamWTensor {
  float* parameter;
  const float* gradient;
  float* firstMoment;
  float* secondMoment;
  int64_t count;
};

/// Bytes of the host: its memory, or a file.
struct HostSource {
  /// Writes bytes [offset, offset + bytes) to `to`, on a thread of the backend. Null, or why it failed: a sentence
  /// without its full stop, valid until `done`.
  const char* (*read)(void* user, void* to, size_t offset, size_t bytes);
  /// Nothing is read any more; called even if nothing was.
  void (*done)(void* user);
  void* user;
};

struct Backend {
  uint32_t abi;  // kBackendAbi
  const char* name;

  // --- device and stream -------------------------------------------------------------------------------------
  int32_t (*deviceCount)();
  Status (*deviceFacts)(int32_t device, DeviceFacts* facts);
  /// `why` gets a sentence without its full stop where there is none to be had.
  Status (*streamCreate)(int32_t device, int32_t threads, Stream** stream, char* why, size_t capacity);
  Status (*setThreads)(Stream*, int32_t threads);
  /// Whether f32 products of what is enqueued from here on may round their inputs to TF32 (10 bits of fraction). Not at
  /// first; without effect on a device that has no TF32.
  Status (*setAllowTf32)(Stream*, bool allow);
  uint64_t (*queueDepth)(Stream*);  // operations enqueued and not finished
  /// Calls `done(user, error)` from a thread of the backend once everything before it is done, then forgets the error.
  Status (*callback)(Stream*, void (*done)(void* user, const StreamError* error), void* user);
  /// Why the device is lost and every call fails from here on; status ok as long as it isn't.
  StreamError (*failure)(Stream*);
  /// Drops what has not started, waits for what has, and refuses further work: for the end of the process.
  void (*shutdown)(Stream*);

  // --- memory ------------------------------------------------------------------------------------------------
  Status (*allocate)(Stream*, size_t bytes, void** data);  // 64-byte aligned
  void (*release)(Stream*, void* data);
  void (*memoryFigures)(Stream*, MemoryFigures* figures);
  void (*setMemoryLimit)(Stream*, uint64_t bytes);
  void (*resetPeak)(Stream*);
  Status (*trim)(Stream*);  // gives cached memory back to the system
  Status (*copyFromHost)(Stream*, void* target, size_t bytes, HostSource source);
  /// Host memory must stay valid until `done(user)`, which is called even if nothing is copied.
  Status (*copyToHost)(Stream*, void* host, const void* source, size_t bytes, void (*done)(void*), void* user);

  // --- profile -----------------------------------------------------------------------------------------------
  /// While on, every operation is timed under its name and its sizes.
  Status (*profile)(Stream*, bool on);
  Status (*profileReport)(Stream*, char* json, size_t capacity, size_t* needed);  // call after a callback

  // --- copies ------------------------------------------------------------------------------------------------
  Status (*fill)(Stream*, TensorDesc target, double value);
  /// target = scale * source, converting; shapes equal, any strides, any float types; integers only same to same.
  Status (*copy)(Stream*, TensorDesc source, TensorDesc target, float scale);
  /// target += scale * source
  Status (*add)(Stream*, TensorDesc source, TensorDesc target, float scale);
  /// target (f32) = (accumulate ? target : 0) + scale * a * b by elements; all [rows, columns], a any float type, b
  /// f32. The target may be the memory of b.
  Status (*multiply)(Stream*, TensorDesc a, TensorDesc b, TensorDesc target, float scale, bool accumulate);
  /// target [.., n] = values of the block format `source` [.., n], to a float type. Plain floats are accepted too.
  Status (*dequantise)(Stream*, TensorDesc source, TensorDesc target);

  // --- products ----------------------------------------------------------------------------------------------
  /// c = alpha * op(a) op(b) + (accumulate ? c : 0). Rank 2, or rank 3 with a leading batch that strides may
  /// interleave (a stride of 0 repeats). op transposes the last two dimensions. f32 accumulation. b and c may be f32
  /// beside a narrower a.
  Status (*matmul)(Stream*, TensorDesc a, bool transposeA, TensorDesc b, bool transposeB, TensorDesc c, float alpha,
                   bool accumulate);
  /// c (+)= a b^T (transposeB) or a b for a [m, .] and a weight b [d, k], whose rows are rounded to 8 bits of their
  /// largest values: round(b / s) with s = max |b| / 127, and a likewise. Before that, rows of both are multiplied by
  /// an orthonormal matrix where b is transposed, else a's columns by b's scales (cpu/rounded_rows.h). Sums of products
  /// of the integers are exact. c is f32 or a's dtype.
  Status (*matmulInt8)(Stream*, TensorDesc a, TensorDesc b, bool transposeB, TensorDesc c, bool accumulate);
  /// y [T, d] += bias [d]
  Status (*addBias)(Stream*, TensorDesc bias, TensorDesc y);
  /// sums [d] (f32) = (accumulate ? sums : 0) + column sums of x [T, d], in a fixed order
  Status (*columnSums)(Stream*, TensorDesc x, TensorDesc sums, bool accumulate);

  // --- rows --------------------------------------------------------------------------------------------------
  /// y [T, D] = table [V, D] at ids [T]; the table may be a block format.
  Status (*embedding)(Stream*, TensorDesc table, TensorDesc ids, TensorDesc y);
  /// dTable [V, D] (f32) += dY [T, D] at ids, rows in order of T
  Status (*embeddingBackward)(Stream*, TensorDesc dY, TensorDesc ids, TensorDesc dTable);
  /// y [N, D] = x [T, D] at rows [N] (i32)
  Status (*gatherRows)(Stream*, TensorDesc x, TensorDesc rows, TensorDesc y);
  /// y [T, D] at rows [N] = x [N, D]; other rows stay. Rows are distinct.
  Status (*scatterRows)(Stream*, TensorDesc x, TensorDesc rows, TensorDesc y);
  /// y [T, N] = (accumulate ? y : 0) + x [T, D] at columns [N] (i32)
  Status (*gatherColumns)(Stream*, TensorDesc x, TensorDesc columns, TensorDesc y, bool accumulate);

  // --- layers ------------------------------------------------------------------------------------------------
  /// If residual has data: x += residual, in place, first. y = x * rstd * (weightOffset + weight), rstd (f32) =
  /// 1/sqrt(mean(x^2) + epsilon) of each row. x [T, D], or [T, heads, D] with a row for every head; rstd [T] or
  /// [T, heads]. weight [D] is f32. y may lack data (only rstd wanted) and may be x's own memory; rstd may lack data.
  Status (*rmsNorm)(Stream*, TensorDesc x, TensorDesc residual, TensorDesc weight, float weightOffset, float epsilon,
                    TensorDesc y, TensorDesc rstd);
  /// y = x * rstd * (weightOffset + weight) from a kept rstd.
  Status (*rmsNormApply)(Stream*, TensorDesc x, TensorDesc weight, float weightOffset, TensorDesc rstd, TensorDesc y);
  /// dX (+)= gradient through x; dWeight [D] (f32, optional) += gradient of weight, fixed order. dX may be dY's memory.
  Status (*rmsNormBackward)(Stream*, TensorDesc dY, TensorDesc x, TensorDesc weight, float weightOffset,
                            TensorDesc rstd, TensorDesc dX, bool accumulate, TensorDesc dWeight);
  /// y = (x - mean) * rstd * weight + bias over rows of x [T, D], rstd = 1/sqrt(variance + epsilon); mean and rstd [T]
  /// are stored. weight and bias [D] and statistics are f32; bias may lack data.
  Status (*layerNorm)(Stream*, TensorDesc x, TensorDesc weight, TensorDesc bias, float epsilon, TensorDesc y,
                      TensorDesc mean, TensorDesc rstd);
  /// The same from kept statistics.
  Status (*layerNormApply)(Stream*, TensorDesc x, TensorDesc weight, TensorDesc bias, TensorDesc mean, TensorDesc rstd,
                           TensorDesc y);
  /// dX (+)= gradient through x; dWeight and dBias [D] (f32, either may lack data) += theirs, fixed order.
  Status (*layerNormBackward)(Stream*, TensorDesc dY, TensorDesc x, TensorDesc weight, TensorDesc mean, TensorDesc rstd,
                              TensorDesc dX, bool accumulate, TensorDesc dWeight, TensorDesc dBias);
  /// Rotates the first r <= E elements of every head of x [T, heads, E] in place, half-split: pair (j, j + r/2) by
  /// angle table[positions[t]][j]; cosines, sines [P, r/2] f32. inverse turns back (the backward pass).
  Status (*rope)(Stream*, TensorDesc x, TensorDesc positions, TensorDesc cosines, TensorDesc sines, bool inverse);
  /// y = f(gate) * up, all [T, F]: SwiGLU, GeGLU (arXiv 2002.05202). Without data in up: y = f(gate). y may be an
  /// input's own memory.
  Status (*activation)(Stream*, Activation f, TensorDesc gate, TensorDesc up, TensorDesc y);
  /// dGate = dY f'(gate) * up, dUp = dY f(gate); up and dUp lack data together. Outputs may be the inputs' own memory.
  Status (*activationBackward)(Stream*, Activation f, TensorDesc dY, TensorDesc gate, TensorDesc up, TensorDesc dGate,
                               TensorDesc dUp);
  /// y = mask * x / (1 - p); rowKeys [T] i64 identify rows. The backward pass is the same call on dY. May be in place.
  Status (*dropout)(Stream*, TensorDesc x, TensorDesc rowKeys, DropoutKey key, TensorDesc y);

  // --- attention ---------------------------------------------------------------------------------------------
  /// Causal grouped-query attention over packed documents. q [Tq, H, E], k, v [Tk, K, E], out [Tq, H, E], lse [H, Tq]
  /// (f32, may lack data); queryOffsets, keyOffsets [B + 1] i32 in device memory. Document b's last query sees its
  /// last key (a cache has more keys than queries). Softmax in f32, blocked: no T x T buffer; keys outside of windows
  /// cost nothing.
  Status (*attention)(Stream*, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc queryOffsets, TensorDesc keyOffsets,
                      AttentionScoring scoring, TensorDesc out, TensorDesc lse);
  /// dQ, dK, dV are written (not accumulated); fixed order.
  Status (*attentionBackward)(Stream*, TensorDesc dOut, TensorDesc q, TensorDesc k, TensorDesc v, TensorDesc out,
                              TensorDesc lse, TensorDesc queryOffsets, TensorDesc keyOffsets, AttentionScoring scoring,
                              TensorDesc dQ, TensorDesc dK, TensorDesc dV);

  // --- loss --------------------------------------------------------------------------------------------------
  /// logits [N, V], targets [N] i32 (negative: no target). losses [N] f32 = logsumexp - logit of the target, 0 without
  /// one. dLogits (optional, may be the logits' own memory when dtypes agree) = softmax - onehot, 0 without a target.
  /// With a softcap > 0, logits are first capped as capLogits does, and dLogits is the gradient of those before.
  Status (*crossEntropy)(Stream*, TensorDesc logits, TensorDesc targets, float softcap, TensorDesc losses,
                         TensorDesc dLogits);
  /// logits [N, V] = softcap tanh(logits / softcap), in place; softcap > 0
  Status (*capLogits)(Stream*, TensorDesc logits, float softcap);
  /// total [1] f32 = (accumulate ? total : 0) + sum of x, in a fixed order, accumulated in f64
  Status (*sum)(Stream*, TensorDesc x, TensorDesc total, bool accumulate);

  // --- choosing tokens ---------------------------------------------------------------------------------------
  /// ids [N] i32 = the column of the largest of each row of logits [N, V]; of equal ones, the first. A row without a
  /// finite largest one gives -1 - column of what is wrong: of the first NaN or +infinity, or of the first of nothing
  /// but -infinity.
  Status (*argmax)(Stream*, TensorDesc logits, TensorDesc ids);
  /// ids [N] i32 = a column of each row of logits [N, V], drawn with the row's uniform number draws [N] (i64) / 2^53 in
  /// [0, 1): the first at which the running sum of probabilities exceeds it, likeliest first, or by columns where
  /// neither topK nor topP excludes any. Rows without a finite largest logit give what argmax gives.
  Status (*sample)(Stream*, TensorDesc logits, TensorDesc draws, Sampling sampling, TensorDesc ids);

  // --- optimizer ---------------------------------------------------------------------------------------------
  /// norm [1] f32 = sqrt of the sum of squares over all gradients (accumulated in f64, fixed order)
  Status (*globalNorm)(Stream*, const AdamWTensor* tensors, int64_t count, TensorDesc norm);
  /// scale [1] f32 = s * min(1, maxNorm / (s * norm + 1e-6)) with s = gradientScale; maxNorm 0: s. NaN if norm is not
  /// finite.
  Status (*clipScale)(Stream*, TensorDesc norm, float gradientScale, float maxNorm, TensorDesc scale);
  /// One AdamW step over a list of tensors, gradients multiplied by scale [1]; a scale that is not finite changes
  /// nothing.
  Status (*adamw)(Stream*, const AdamWTensor* tensors, int64_t count, AdamWStep step, TensorDesc scale);
  /// count [1] i32 = (accumulate ? count : 0) + how many elements are not finite
  Status (*countNonFinite)(Stream*, TensorDesc x, TensorDesc count, bool accumulate);
  /// largest [1] f32 = the largest of (accumulate ? largest : 0) and of all |a - b|; NaN counts as nothing
  Status (*largestDifference)(Stream*, TensorDesc a, TensorDesc b, TensorDesc largest, bool accumulate);

  // --- MoRA (mora/geometry.h) ----------------------------------------------------------------------------------
  /// Source and target have one dtype. Sums groups: target [T, R] = (accumulate ? target : 0) + sum over source [T,
  /// width] of each group. Compress, and the transpose of decompress.
  Status (*groupSum)(Stream*, Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate);
  /// Spreads: target [T, width] (+)= source [T, R] at each column's groups. Decompress, and the transpose of compress.
  Status (*groupSpread)(Stream*, Grouping grouping, TensorDesc source, TensorDesc target, bool accumulate);
  /// W, the side of the folded matrices that activations of that dtype are multiplied with: R, or more where the
  /// backend computes in aligned windows (mora/windows.h). For f32 it is R.
  int64_t (*foldedSide)(BlockPlan plan, DType dtype);
  /// folded [n, W, W] (any float type) = M R_b for every live block b where it lies in its window, and 0 around it;
  /// matrix is f32 [R, R].
  Status (*foldBlocks)(Stream*, BlockPlan plan, TensorDesc matrix, TensorDesc folded);
  /// dMatrix [R, R] (f32) (+)= the sum over live blocks of dFolded_b R_b^T; dFolded is f32 [n, W, W].
  Status (*unfoldBlocks)(Stream*, BlockPlan plan, TensorDesc dFolded, TensorDesc dMatrix, bool accumulate);
  /// y [T, d] = blocks applied to x [T, k]; columns that no block reaches become 0, repeats are copied.
  Status (*blocksForward)(Stream*, BlockPlan plan, TensorDesc x, TensorDesc folded, TensorDesc y, bool accumulate);
  /// dX [T, k] (+)= transpose of the blocks applied to dY [T, d]. Zeros may follow in dY up to a multiple of 8 columns.
  Status (*blocksBackwardInput)(Stream*, BlockPlan plan, TensorDesc dY, TensorDesc folded, TensorDesc dX,
                                bool accumulate);
  /// dFolded [n, W, W] (f32) = dY_b^T x_b for every live block where it lies in its window, anything around it. dY as
  /// above.
  Status (*blocksBackwardWeight)(Stream*, BlockPlan plan, TensorDesc x, TensorDesc dY, TensorDesc dFolded);
  /// weight [d, k] += scale * delta W of the sharing operators, one gather pass; nonFinite [1] i32 += results not
  /// finite (it may lack data).
  Status (*mergeGroups)(Stream*, Grouping input, Grouping output, TensorDesc matrix, float scale, TensorDesc weight,
                        TensorDesc nonFinite);
  /// The same for rotation, decoupling and truncation, from folded f32 blocks [n, R, R]: what no block reaches is
  /// neither read nor counted.
  Status (*mergeBlocks)(Stream*, BlockPlan plan, TensorDesc folded, float scale, TensorDesc weight,
                        TensorDesc nonFinite);
  /// weight [d, k] += scale b [d, r] a [r, k] of f32 factors, each result rounded once; nonFinite as above.
  Status (*mergeFactors)(Stream*, TensorDesc b, TensorDesc a, float scale, TensorDesc weight, TensorDesc nonFinite);
};

/// Looks a backend up: "cpu" is linked in; others are opened at run time. Returns null with the reason in `why`.
const Backend* findBackend(const char* name, char* why, size_t capacity);

}  // namespace mora
