// Rotation, decoupling and truncation (mora/geometry.h): the rotation is folded into the matrix, products run in place
// over the sections of x and y (core/math/section_operations.h), in aligned windows if that is faster
// (core/math/window_operations.h), and merging is one pass over the weight. T rows, k inputs, d outputs, R side of the
// matrix, W side of its window (R without windows), n live sections. Columns are counted in 32 bits.
#include "core/math/window_operations.h"

#include <cstring>

#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/mora/mora_dispatch.h"
#include "cuda/vector.h"

namespace mora::cuda {
namespace {

constexpr int64_t kRotationKey = 1;  // of kept memory

/// Cosines and sines of the angles of every live section, each f32 [n, R / 2].
struct RotationTable {
  float *cosines, *sines;

  static uint64_t bytes(int64_t sections, int64_t side) {
    return sizeof(float) * static_cast<uint64_t>(sections * side);
  }
};

/// The angles b 10000^(-2j/R) of the pairs (j, j + R/2) of section b, computed in f64 as on the CPU. Writes n R
/// numbers.
__global__ void fillRotationTable(RotationTable table, int sections, int half) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= sections * half) return;
  const double theta = pow(10000.0, -2.0 * static_cast<double>(i % half) / static_cast<double>(2 * half));
  const double angle = static_cast<double>(i / half) * theta;
  table.cosines[i] = static_cast<float>(cos(angle));
  table.sines[i] = static_cast<float>(sin(angle));
}

/// The table of a plan. Plans are few and used in every step, so tables are made once and kept.
RotationTable rotationTable(Context& context, const SectionPlan& plan) {
  const int sections = static_cast<int>(plan.liveSections()), half = static_cast<int>(plan.side / 2),
            count = sections * half;
  const Context::Kept kept =
      context.kept({kRotationKey, sections, plan.side}, RotationTable::bytes(sections, plan.side));
  auto* const memory = static_cast<float*>(kept.data);
  const RotationTable table{memory, memory + count};
  if (!kept.fresh) return table;
  expectCost(0, RotationTable::bytes(sections, plan.side));
  constexpr unsigned kThreads = 128;
  launch(fillRotationTable, dim3(static_cast<unsigned>(ceilDivide(count, kThreads))), dim3(kThreads), 0, context.stream,
         table, sections, half);
  return table;
}

/// folded [n, W, W] = M R_b in its window: columns j and j + R/2 of M rotated by the section's angle, zeros around
/// them. A thread rotates N pairs of one row. Moves n W^2 + R^2 numbers and the table; M mostly comes from the cache.
template <typename T, int N>
__global__ void foldRows(const float* matrix, RotationTable table, T* folded, int sections, int side, int window) {
  const int half = side / 2;
  forPieces(static_cast<int64_t>(sections) * window, half / N, [&](int64_t row, int64_t piece) {
    const int64_t j = piece * N, section = row / window, offset = windowOffset(side, window, section);
    const int64_t line = row % window - offset;
    T* const w = folded + row * window + offset;
    float first[N] = {}, second[N] = {};
    if (line >= 0 && line < side) {
      const float* const m = matrix + line * side + j;
      float cosines[N], sines[N], low[N], high[N];
      load(table.cosines + section * half + j, cosines);
      load(table.sines + section * half + j, sines);
      load(m, low);
      load(m + half, high);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        first[i] = low[i] * cosines[i] + high[i] * sines[i];
        second[i] = high[i] * cosines[i] - low[i] * sines[i];
      }
    }
    store(first, w + j);
    store(second, w + half + j);
    if (piece > 0) return;
    for (int64_t c = -offset; c < 0; ++c) w[c] = fromFloat<T>(0);
    for (int64_t c = side; c < window - offset; ++c) w[c] = fromFloat<T>(0);
  });
}

/// dMatrix [R, R] (+)= sum over sections of dFolded_b R_b^T, section by section. A thread rotates N pairs of one row
/// back. Moves (n + 1) R^2 f32 numbers, R^2 more to accumulate, and the table.
template <int N>
__global__ void unfoldRows(const float* dFolded, RotationTable table, float* dMatrix, int sections, int side,
                           int window, bool accumulate) {
  const int half = side / 2;
  forPieces(side, half / N, [&](int64_t row, int64_t piece) {
    const int64_t j = piece * N;
    float* const m = dMatrix + row * side + j;
    float low[N] = {}, high[N] = {};
    if (accumulate) {
      load(m, low);
      load(m + half, high);
    }
#pragma unroll 2
    for (int64_t b = 0; b < sections; ++b) {
      const int64_t offset = windowOffset(side, window, b);
      const float* const w = dFolded + (b * window + offset + row) * window + offset + j;
      float cosines[N], sines[N], first[N], second[N];
      load(table.cosines + b * half + j, cosines);
      load(table.sines + b * half + j, sines);
      load(w, first);
      load(w + half, second);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        low[i] += first[i] * cosines[i] - second[i] * sines[i];
        high[i] += second[i] * cosines[i] + first[i] * sines[i];
      }
    }
    store(low, m);
    store(high, m + half);
  });
}

/// The geometry of a plan for merging. A position is a row of the folded sections [n R, R]; it adds to one output.
struct MergeGeometry {
  int inputs, outputs, side;
  int distinct;   // outputs before they repeat
  int positions;  // [0, positions) add to outputs, each to its own
  int step;       // from a position to the next one of the same output
  bool wraps;     // columns past the inputs continue at the start

  explicit MergeGeometry(const SectionPlan& plan)
      : inputs(static_cast<int>(plan.inFeatures)),
        outputs(static_cast<int>(plan.outFeatures)),
        side(static_cast<int>(plan.side)),
        distinct(plan.truncate ? outputs : static_cast<int>(plan.distinctOutputs())),
        positions(static_cast<int>(plan.foldOutput ? plan.sections() * plan.side : plan.distinctOutputs())),
        step(plan.foldOutput ? outputs : positions),
        wraps(!plan.truncate) {
    if (plan.truncate) positions = step = min(side, outputs);
  }
  /// The largest number of columns that the sections of an output reach.
  int64_t reachedPerRow() const {
    const int64_t sectionsPerRow = (positions + step - 1) / step;
    return std::min<int64_t>(inputs, sectionsPerRow * side);
  }
};

/// weight [d, k] += scale ΔW of the folded sections f32 [n, R, R]. A thread gathers the N values of its columns once
/// and adds them to an output and to its repeats. Moves n R^2 numbers, and reads and writes the elements that sections
/// reach.
template <typename T, int N>
__global__ void mergeSectionRows(const float* folded, MergeGeometry geometry, float scale, Rows<T> weight,
                                 int32_t* nonFinite) {
  forPieces(geometry.distinct, geometry.inputs / N, [&](int64_t row, int64_t piece) {
    const int c = static_cast<int>(piece) * N;
    float delta[N] = {};
    unsigned reached = 0;  // a bit for each column
    for (int position = static_cast<int>(row); position < geometry.positions; position += geometry.step) {
      const int first = position / geometry.side * geometry.side, end = first + geometry.side;
      const float* const values = folded + static_cast<int64_t>(position) * geometry.side;
      for (int column = c; column < end; column += geometry.inputs) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          if (column + i < first || column + i >= end) continue;
          delta[i] += values[column + i - first];
          reached |= 1u << i;
        }
        if (!geometry.wraps) break;
      }
    }
    if (reached == 0) return;
    int32_t found = 0;
    for (int64_t j = row; j < geometry.outputs; j += geometry.distinct)
      found += mergeVector(delta, scale, weight.at(j) + c, reached);
    addToCount(nonFinite, found);
  });
}

/// The `operations` of core/math/section_operations.h.
struct CudaOperations {
  Context& context;

  void matmul(const TensorDesc& a, bool transposeA, const TensorDesc& b, bool transposeB, const TensorDesc& c,
              bool accumulate) {
    cuda::matmul(context, a, transposeA, b, transposeB, c, 1, accumulate);
  }
  void zero(const TensorDesc& target) { fill(context, target, 0); }
  void groupSum(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target) {
    cuda::groupSum(context, grouping, source, target, false);
  }
  void groupSpread(const Grouping& grouping, const TensorDesc& source, const TensorDesc& target, bool accumulate) {
    cuda::groupSpread(context, grouping, source, target, accumulate);
  }
  void* scratch(size_t bytes) { return context.scratch(Slot::sections, bytes); }
};

/// Whether rows of R values and their halves can be read N at a time: they are aligned for divisors of R.
auto halvesFit(int64_t side) {
  return [side](int width) { return side / 2 % width == 0; };
}

/// `count` sections of folded matrices [n, W, W], `step` apart, without the rest of their windows: [count, R, R].
TensorDesc foldedSections(const TensorDesc& folded, int64_t side, int64_t section, int64_t count, int64_t step) {
  const int64_t offset = windowOffset(side, folded.shape[1], section);
  return matrixSections(folded, {0, side, offset, 0, side, offset, section, count, true, step});
}

/// A matrix [R, R] repeated: [count, R, R].
TensorDesc repeated(const TensorDesc& matrix, int64_t count) {
  const int64_t R = matrix.shape[0];
  return {matrix.data, matrix.dtype, 3, {count, R, R}, {0, R, 1}};
}

/// The smallest R for which windows pay. They read about three quarters of x a second time, for the last rows of
/// sections: up to 3/8 more bytes. Products of narrow sections are bound by memory: R / 2 operations a byte are below
/// what an H100 needs to be bound by arithmetic, 240, or 70 if operands are not aligned
/// (bench/cuda-model/roofline.mjs). So without windows they take R / 2 / 70 of the time of their memory traffic, which
/// exceeds 1 + 3/8 from R = 192 on.
constexpr int64_t kNarrowestWindowed = 192;

}  // namespace

int64_t foldedSide(SectionPlan plan, DType dtype) {
  const bool sixteenBits = traitsOf(dtype).blockBytes == 2 && isFloat(dtype);
  const bool aligned = plan.side % kCell == 0, alignable = plan.inFeatures % kCell == 0;
  return sixteenBits && alignable && !aligned && plan.side >= kNarrowestWindowed ? windowSide(plan) : plan.side;
}

void foldSections(Context& context, SectionPlan plan, TensorDesc matrix, TensorDesc folded) {
  const int64_t R = plan.side, n = plan.liveSections(), window = folded.shape[1];
  if (!plan.rotate) {  // every section is the matrix itself
    if (window > R) fill(context, folded, 0);
    const int64_t step = window > R ? sectionsBetweenLike(R) : 1;
    for (int64_t section = 0; section < std::min(step, n); ++section) {
      const int64_t count = ceilDivide(n - section, step);
      copy(context, repeated(matrix, count), foldedSections(folded, R, section, count, step), 1);
    }
    return;
  }
  const RotationTable table = rotationTable(context, plan);
  expectCost(bytesOf(matrix) + table.bytes(n, R), bytesOf(folded));
  withFloatType(folded.dtype, "foldSections", [&](auto type) {
    using T = decltype(type);
    withWidest(halvesFit(R), [&](auto width) {
      launchPieces(foldRows<T, width>, n * window, R / 2 / width, context.stream,
                   static_cast<const float*>(matrix.data), table, static_cast<T*>(folded.data), static_cast<int>(n),
                   static_cast<int>(R), static_cast<int>(window));
    });
  });
  checkLaunch("foldSections");
}

void unfoldSections(Context& context, SectionPlan plan, TensorDesc dFolded, TensorDesc dMatrix, bool accumulate) {
  const int64_t R = plan.side, n = plan.liveSections(), window = dFolded.shape[1];
  if (!plan.rotate && window > R) {
    for (int64_t b = 0; b < n; ++b)
      (accumulate || b > 0 ? add : copy)(context, foldedSections(dFolded, R, b, 1, 1), repeated(dMatrix, 1), 1);
    return;
  }
  if (!plan.rotate) {
    TensorDesc sections = dFolded, sums = dMatrix;
    sections.rank = 2, sections.shape[0] = n, sections.shape[1] = sections.strides[0] = R * R, sections.strides[1] = 1;
    sums.rank = 1, sums.shape[0] = R * R, sums.strides[0] = 1;
    return columnSums(context, sections, sums, accumulate);
  }
  const RotationTable table = rotationTable(context, plan);
  expectCost(bytesOf(dFolded) + table.bytes(n, R) + (accumulate ? bytesOf(dMatrix) : 0), bytesOf(dMatrix));
  withWidest(halvesFit(R), [&](auto width) {
    launchPieces(unfoldRows<width>, R, R / 2 / width, context.stream, static_cast<const float*>(dFolded.data), table,
                 static_cast<float*>(dMatrix.data), static_cast<int>(n), static_cast<int>(R), static_cast<int>(window),
                 accumulate);
  });
  checkLaunch("unfoldSections");
}

void sectionsForward(Context& context, SectionPlan plan, TensorDesc x, TensorDesc folded, TensorDesc y,
                     bool accumulate) {
  CudaOperations operations{context};
  const auto multiply =
      folded.shape[1] > plan.side ? multiplyWindows<CudaOperations> : multiplySections<CudaOperations>;
  multiply(operations, plan, x, folded, y, accumulate);
}

void sectionsBackwardInput(Context& context, SectionPlan plan, TensorDesc dY, TensorDesc folded, TensorDesc dX,
                           bool accumulate) {
  CudaOperations operations{context};
  const auto multiply = folded.shape[1] > plan.side ? multiplyWindowsTransposed<CudaOperations>
                                                    : multiplySectionsTransposed<CudaOperations>;
  multiply(operations, plan, dY, folded, dX, accumulate);
}

void sectionsBackwardWeight(Context& context, SectionPlan plan, TensorDesc x, TensorDesc dY, TensorDesc dFolded) {
  CudaOperations operations{context};
  if (dFolded.shape[1] > plan.side) return multiplyWindowGradients(operations, plan, x, dY, dFolded);
  const TensorDesc gradient = distinctGradient(operations, plan, dY, dY.dtype);
  multiplySectionGradients(operations, plan, x, gradient, dFolded, false);
}

void mergeSections(Context& context, SectionPlan plan, TensorDesc folded, float scale, TensorDesc weight,
                   TensorDesc nonFinite) {
  if (elementsOf(weight) == 0) return;
  const MergeGeometry geometry(plan);
  const auto reached =
      static_cast<uint64_t>(geometry.reachedPerRow() * geometry.outputs) * traitsOf(weight.dtype).blockBytes;
  expectCost(bytesOf(folded) + reached, reached);
  withFloatType(weight.dtype, "mergeSections", [&](auto type) {
    using T = decltype(type);
    withWidth<8>(rowsFit(weight, 8), [&](auto width) {
      launchPieces(mergeSectionRows<T, width>, geometry.distinct, geometry.inputs / width, context.stream,
                   static_cast<const float*>(folded.data), geometry, scale, rowsOf<T>(weight),
                   static_cast<int32_t*>(nonFinite.data));
    });
  });
  checkLaunch("mergeSections");
}

}  // namespace mora::cuda
