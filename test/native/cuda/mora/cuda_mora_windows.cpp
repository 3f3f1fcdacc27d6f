// Rotation, decoupling and truncation in aligned windows on the device: the same results as in sections, by products
// whose operands are aligned to 16 bytes.
#include <utility>

#include "core/math/window_operations.h"
#include "cuda/products/products.h"
#include "cuda/runtime/devices.h"
#include "cuda_section_plans.h"

using namespace mora;
using namespace mora::test;

namespace {

// One, two and three sections; partial ones, whose padding continues at the start; cut and repeated outputs; dead
// sections; R above k and above 2 k; every remainder of R by 8; a width that is not aligned.
const SectionPlan kPlans[] = {
    planOf(24, 24, 18, Kind::rotate),    planOf(24, 24, 22, Kind::rotate),   planOf(48, 48, 20, Kind::rotate),
    planOf(64, 48, 22, Kind::rotate),    planOf(56, 56, 14, Kind::rotate),   planOf(120, 40, 10, Kind::rotate),
    planOf(120, 40, 18, Kind::rotate),   planOf(40, 120, 18, Kind::rotate),  planOf(40, 120, 12, Kind::rotate),
    planOf(16, 96, 6, Kind::rotate),     planOf(16, 16, 2, Kind::rotate),    planOf(8, 40, 26, Kind::rotate),
    planOf(16, 8, 38, Kind::rotate),     planOf(8, 8, 20, Kind::rotate),     planOf(208, 136, 44, Kind::rotate),
    planOf(48, 48, 17, Kind::decouple),  planOf(64, 40, 19, Kind::decouple), planOf(40, 88, 21, Kind::decouple),
    planOf(120, 120, 7, Kind::decouple), planOf(24, 24, 1, Kind::decouple),  planOf(24, 40, 13, Kind::truncate),
    planOf(16, 40, 21, Kind::truncate),  planOf(40, 16, 21, Kind::truncate), planOf(40, 16, 6, Kind::fold),
    planOf(120, 40, 18, Kind::fold),     planOf(16, 24, 20, Kind::fold),     planOf(24, 8, 14, Kind::fold),
    planOf(40, 120, 12, Kind::fold),     planOf(45, 51, 18, Kind::rotate),   planOf(44, 13, 10, Kind::fold),
};
// Plans of a 7B model's layers, and others that the backend computes in windows.
const SectionPlan kWide[] = {
    planOf(696, 1064, 348, Kind::rotate),  planOf(1048, 704, 348, Kind::rotate), planOf(600, 608, 202, Kind::rotate),
    planOf(504, 240, 238, Kind::rotate),   planOf(504, 1600, 250, Kind::rotate), planOf(400, 400, 199, Kind::decouple),
    planOf(512, 304, 250, Kind::truncate), planOf(600, 304, 202, Kind::fold),
};

/// cuBLAS's table with a check of every product's operands.
class Watch {
 public:
  static const cuda::CublasTable* over(const cuda::CublasTable& real) {
    real_ = real;
    table_ = real;
    table_.gemmEx = [](cuda::CublasHandle handle, Operation a, Operation b, int m, int n, int k, const void* alpha,
                       const void* dataA, Type typeA, int lda, const void* dataB, Type typeB, int ldb, const void* beta,
                       void* dataC, Type typeC, int ldc, cuda::CublasCompute compute, cuda::CublasAlgorithm algorithm) {
      see(dataA, typeA, a == Operation::none ? m : k, lda, 0);
      see(dataB, typeB, b == Operation::none ? k : n, ldb, 0);
      see(dataC, typeC, m, ldc, 0);
      return real_.gemmEx(handle, a, b, m, n, k, alpha, dataA, typeA, lda, dataB, typeB, ldb, beta, dataC, typeC, ldc,
                          compute, algorithm);
    };
    table_.gemmStridedBatchedEx = [](cuda::CublasHandle handle, Operation a, Operation b, int m, int n, int k,
                                     const void* alpha, const void* dataA, Type typeA, int lda, long long strideA,
                                     const void* dataB, Type typeB, int ldb, long long strideB, const void* beta,
                                     void* dataC, Type typeC, int ldc, long long strideC, int count,
                                     cuda::CublasCompute compute, cuda::CublasAlgorithm algorithm) {
      see(dataA, typeA, a == Operation::none ? m : k, lda, strideA);
      see(dataB, typeB, b == Operation::none ? k : n, ldb, strideB);
      see(dataC, typeC, m, ldc, strideC);
      return real_.gemmStridedBatchedEx(handle, a, b, m, n, k, alpha, dataA, typeA, lda, strideA, dataB, typeB, ldb,
                                        strideB, beta, dataC, typeC, ldc, strideC, count, compute, algorithm);
    };
    return &table_;
  }

  static int operands() { return std::exchange(operands_, 0); }
  /// Number of unaligned operands since the last call.
  static int unaligned() { return std::exchange(unaligned_, 0); }

 private:
  using Operation = cuda::CublasOperation;
  using Type = cuda::CublasType;

  static void see(const void* data, Type type, int64_t dense, int64_t leading, int64_t stride) {
    const int64_t bytes = type == Type::f32 ? 4 : 2;
    bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0;
    for (const int64_t distance : {dense, leading, stride}) aligned = aligned && distance * bytes % 16 == 0;
    ++operands_;
    unaligned_ += aligned ? 0 : 1;
  }

  inline static cuda::CublasTable real_, table_;
  inline static int operands_ = 0, unaligned_ = 0;
};

bool wholeCells(const SectionPlan& plan) { return plan.inFeatures % kCell == 0 && plan.outFeatures % kCell == 0; }

/// All products of 16-bit activations, in aligned layouts.
void isAligned(cuda::Context& context, const SectionPlan& plan) {
  Watch::unaligned();
  Watch::operands();
  for (const bool accumulate : {false, true})
    multiplies(context, plan, windowSide(plan), {DType::bf16, 9, accumulate, kLayouts[accumulate ? 1 : 0]});
  CHECK(Watch::operands() > 0);
  if (!CHECK(Watch::unaligned() == 0)) std::fprintf(stderr, "  %s\n", describe(plan).c_str());
}

/// Windows are used for 16-bit activations of whole cells and for wide, unaligned sections.
void windowsWhereTheyPay() {
  const auto side = [](int64_t k, int64_t R, DType type) {
    return cuda::foldedSide(planOf(k, 4096, R, Kind::rotate), type);
  };
  CHECK(side(4096, 348, DType::bf16) == 352);
  CHECK(side(4096, 1966, DType::f16) == 1976);
  CHECK(side(1966, 1966, DType::bf16) == 1966);
  CHECK(side(4096, 348, DType::f32) == 348);
  CHECK(side(4096, 256, DType::bf16) == 256);
  CHECK(side(4096, 90, DType::bf16) == 90);
}

/// Without windows the same operands are unaligned: the check works.
void watchSees(cuda::Context& context) {
  const SectionPlan plan = planOf(48, 48, 20, Kind::rotate);
  Watch::unaligned();
  multiplies(context, plan, plan.side, {DType::bf16, 9, false, kLayouts[0]});
  CHECK(Watch::unaligned() > 0);
}

}  // namespace

int main() {
  TestContext test;
  void* const workspace = test.context.kept({0, 0, 0}, cuda::Products::kWorkspace).data;
  test.context.products =
      new cuda::Products(*Watch::over(cuda::cublas()), cuda::startCublas().handle, test.context.stream, workspace);
  int index = 0;
  for (const SectionPlan& plan : kPlans) {
    const int64_t window = windowSide(plan);
    folds(test.context, plan, window);
    for (const bool accumulate : {false, true}) unfolds(test.context, plan, window, accumulate);
    for (const int64_t tokens : {0, 1, 5}) {
      ++index;
      const DType type = kFloats[index % 3];
      multiplies(test.context, plan, window, {type, tokens, index % 2 == 0, kLayouts[index % 3]});
      multiplies(test.context, plan, window, {DType::bf16, tokens, index % 2 == 1, kLayouts[(index + 1) % 3]});
    }
    if (wholeCells(plan)) isAligned(test.context, plan);
  }
  for (const SectionPlan& plan : kWide) {
    CHECK(cuda::foldedSide(plan, DType::bf16) == windowSide(plan));
    folds(test.context, plan, windowSide(plan));
    unfolds(test.context, plan, windowSide(plan), true);
    isAligned(test.context, plan);
  }
  windowsWhereTheyPay();
  watchSees(test.context);
  return finish();
}
