// Chooses the next token from rows of logits: the likeliest, or a sampled one.
//
//   logits [N, V] in f32, bf16 or f16, with any row stride; draws [N] i64 in [0, 2^53); ids [N] i32.
//
// One block per row: there are few rows, and a row stays in the second-level cache for all passes over it. The first
// pass reads it from memory (N V elements), and only ids are written.
//
// Sampling asks one kind of question three times: in order of likelihood, where does the running sum of some amount
// pass a target? Amounts of 1 find the topK-th token; probabilities find where topP is reached, and the token of the
// random number. selectKey answers in four passes, each of which adds amounts to 256 bins by the next 8 bits of the
// logits' keys. Amounts are integers, probabilities in units of 2^-40 of the likeliest token's: sums are exact in any
// order, so atomic additions give the same bits every time, and no sort is needed.
#include "cuda/block_reduce.h"
#include "cuda/dispatch.h"
#include "cuda/index_report.h"
#include "cuda/kernels.h"
#include "cuda/vector.h"
#include "cuda/wide_sums.h"

namespace mora::cuda {
namespace {

using Amount = unsigned long long;

constexpr unsigned kThreads = 1024;
constexpr unsigned kBins = 256;
constexpr unsigned kLaneBins = kBins / kWarp;  // bins that one lane adds up
constexpr float kUnits = 0x1p40f;              // of the likeliest token's probability
constexpr int64_t kMostColumns = 1 << 23;      // sums stay below 2^63
constexpr int64_t kDraws = int64_t{1} << 53;
constexpr uint32_t kNotFinite = 0xffffffffu, kForbidden = 0x007fffffu;  // keys of NaN and +inf; of -inf

/// A number that is larger for larger logits. -0 counts as 0.
__device__ __forceinline__ uint32_t keyOf(float logit) {
  if (!(logit < INFINITY)) return kNotFinite;
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logitOf(uint32_t key) { return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key); }

__device__ __forceinline__ Amount warpSum(Amount value) {
  for (unsigned offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

/// The inclusive prefix sum over the lanes.
__device__ __forceinline__ Amount warpSumUpTo(Amount value) {
  const unsigned lane = threadIdx.x % kWarp;
  for (unsigned offset = 1; offset < kWarp; offset *= 2) {
    const Amount before = __shfl_up_sync(kWholeWarp, value, offset);
    if (lane >= offset) value += before;
  }
  return value;
}

/// A row of logits, read N elements at a time.
template <typename T, int N>
struct Row {
  const T* logits;
  int64_t columns;

  /// Calls visit(column, logit) for this thread's share.
  template <typename Visit>
  __device__ __forceinline__ void forEach(Visit&& visit) const {
    forVectors<N>(columns, [&](int64_t first, auto width) {
      float values[decltype(width)::value];
      load(logits + first, values);
#pragma unroll
      for (int i = 0; i < decltype(width)::value; ++i) visit(first + i, values[i]);
    });
  }
};

/// The place of a row's largest logit, for every thread of the block.
struct Largest {
  uint32_t key, column;

  /// The chosen column, or -1 - column of a logit that makes a choice impossible: the first NaN or +inf, or the first
  /// of a row of -inf only.
  __device__ __forceinline__ bool chosen() const { return key != kNotFinite && key > kForbidden; }
  __device__ __forceinline__ int32_t id() const {
    return chosen() ? static_cast<int32_t>(column) : -1 - static_cast<int32_t>(column);
  }
};

template <typename T, int N>
__device__ __forceinline__ Largest largestOf(const Row<T, N>& row) {
  MORA_SHARED(Amount, best, [kWarp]);
  // The key above the complement of the column: of equal keys the lowest column wins.
  Amount most = 0;
  row.forEach([&](int64_t column, float logit) {
    most = max(most, Amount{keyOf(logit)} << 32 | ~static_cast<uint32_t>(column));
  });
  for (unsigned offset = kWarp / 2; offset > 0; offset /= 2)
    most = max(most, __shfl_xor_sync(kWholeWarp, most, offset));
  most = combineWarps(most, best, [](Amount a, Amount b) { return max(a, b); });
  return {static_cast<uint32_t>(most >> 32), ~static_cast<uint32_t>(most)};
}

/// The sum of amount(key) over a row, for every thread.
template <typename T, int N, typename Of>
__device__ __forceinline__ Amount sumOf(const Row<T, N>& row, Of&& amount) {
  MORA_SHARED(Amount, sums, [kWarp]);
  Amount sum = 0;
  row.forEach([&](int64_t, float logit) { sum += amount(keyOf(logit)); });
  return combineWarps(warpSum(sum), sums, [](Amount a, Amount b) { return a + b; });
}

/// A key, and the sum of the amounts of all larger ones.
struct Selected {
  uint32_t key;
  Amount before;
};

/// 64-bit sums by bins, in halves of 32 bits: GPUs add these in shared memory with one instruction, but 64 bits in a
/// compare-and-swap loop. Most additions do not change the upper half.
struct Bins {
  uint32_t low[kBins], high[kBins];

  __device__ __forceinline__ void clear() {
    for (unsigned bin = threadIdx.x; bin < kBins; bin += blockDim.x) low[bin] = high[bin] = 0;
  }
  __device__ __forceinline__ void add(unsigned bin, Amount amount) {
    const auto lower = static_cast<uint32_t>(amount);
    const uint32_t before = atomicAdd(&low[bin], lower);
    const uint32_t carry = before + lower < before ? 1 : 0;
    const uint32_t upper = static_cast<uint32_t>(amount >> 32) + carry;
    if (upper > 0) atomicAdd(&high[bin], upper);
  }
  __device__ __forceinline__ Amount operator[](unsigned bin) const { return Amount{high[bin]} << 32 | low[bin]; }
};

/// The largest key at which the running sum of amount(key), from the largest key down, exceeds `target`, which is less
/// than the total.
template <typename T, int N, typename Of>
__device__ Selected selectKey(const Row<T, N>& row, Amount target, Of&& amount) {
  MORA_SHARED(Bins, bins, );
  MORA_SHARED(Selected, next, );
  Selected selected{0, 0};
  for (int shift = 24; shift >= 0; shift -= 8) {
    bins.clear();
    __syncthreads();
    row.forEach([&](int64_t, float logit) {
      const uint32_t key = keyOf(logit);
      // 64 bits, because a shift by 32 must give 0.
      if ((uint64_t{key ^ selected.key}) >> (shift + 8) != 0) return;
      const Amount added = amount(key);
      if (added > 0) bins.add(key >> shift & (kBins - 1), added);
    });
    __syncthreads();
    if (threadIdx.x < kWarp) {
      unsigned bin = kBins - 1 - threadIdx.x * kLaneBins;  // lane 0 has the last bins
      Amount own = 0;
      for (unsigned i = 0; i < kLaneBins; ++i) own += bins[bin - i];
      Amount sum = selected.before + warpSumUpTo(own);
      const unsigned reached = __ballot_sync(kWholeWarp, sum > target);
      if (static_cast<int>(threadIdx.x) == __ffs(static_cast<int>(reached)) - 1) {
        sum -= own;
        for (; sum + bins[bin] <= target; --bin) sum += bins[bin];
        next = {selected.key | bin << shift, sum};
      }
    }
    __syncthreads();
    selected = next;
  }
  return selected;
}

/// Finds the first column at which the running sum of amount(key) exceeds `target`, which is less than the total; one
/// thread gets it and calls found(column). Each warp sums a part of the row, then the warp of the answer searches its
/// part.
template <typename T, int N, typename Of, typename Found>
__device__ void locate(const Row<T, N>& row, Amount target, Of&& amount, Found&& found) {
  MORA_SHARED(Amount, sums, [kWarp]);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t warps = blockDim.x / kWarp, part = (row.columns + warps - 1) / warps;
  const int64_t begin = part * warp, end = min(row.columns, begin + part);
  const auto at = [&](int64_t column) { return column < end ? amount(keyOf(toFloat(row.logits[column]))) : Amount{0}; };
  Amount own = 0;
#pragma unroll 4
  for (int64_t column = begin + lane; column < end; column += kWarp) own += at(column);
  own = warpSum(own);
  if (lane == 0) sums[warp] = own;
  __syncthreads();
  Amount before = 0;
  for (unsigned other = 0; other < warp; ++other) before += sums[other];
  if (before > target || before + own <= target) return;
  for (int64_t first = begin; first < end; first += kWarp) {
    const Amount upTo = before + warpSumUpTo(at(first + lane));
    const unsigned reached = __ballot_sync(kWholeWarp, upTo > target);
    if (reached != 0) {
      if (static_cast<int>(lane) == __ffs(static_cast<int>(reached)) - 1) found(first + lane);
      return;
    }
    before = __shfl_sync(kWholeWarp, upTo, kWarp - 1);
  }
}

/// Probabilities in units of kUnits for the largest logit.
struct Probability {
  float largest, inverseTemperature;

  /// Rounded step by step, so that every pass computes the same.
  __device__ __forceinline__ Amount operator()(uint32_t key) const {
    const float distance = __fmul_rn(__fsub_rn(logitOf(key), largest), inverseTemperature);
    return static_cast<Amount>(__fmul_rn(expf(distance), kUnits));
  }
};

struct Limits {
  float inverseTemperature;
  int64_t topK;  // 0: all tokens
  double topP;   // 1: all tokens
};

__device__ __forceinline__ Amount dividedUp(Amount amount, Amount by) { return (amount + by - 1) / by; }

/// ids = columns of the largest logits; see Largest for rows without a choice.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 1) argmaxRows(Rows<const T> logits, int64_t columns, int32_t* ids) {
  const Largest largest = largestOf(Row<T, N>{logits.at(blockIdx.x), columns});
  if (threadIdx.x == 0) ids[blockIdx.x] = largest.id();
}

/// ids = sampled columns. Candidates are tokens with keys from `floor` up; of several tokens at the floor only the
/// first ones are included. `total` is the sum of the candidates' probabilities: targets are below it.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 1) sampleRows(Rows<const T> logits, int64_t columns, const int64_t* draws,
                                                          Limits limits, int32_t* ids, DeviceReport* report) {
  const Row<T, N> row{logits.at(blockIdx.x), columns};
  int32_t& id = ids[blockIdx.x];
  const int64_t draw = draws[blockIdx.x];
  if (draw < 0 || draw >= kDraws) {
    if (threadIdx.x == 0) reportIndex(report, Operation::sample, blockIdx.x, draw, kDraws);
    return;
  }
  const Largest largest = largestOf(row);
  if (!largest.chosen()) {
    if (threadIdx.x == 0) id = largest.id();
    return;
  }
  const Probability probability{logitOf(largest.key), limits.inverseTemperature};
  const auto choose = [&](int64_t column) { id = static_cast<int32_t>(column); };

  uint32_t floor = 0;
  Amount total;
  if (limits.topK > 0) {
    const Amount count = static_cast<Amount>(limits.topK);
    const Selected last = selectKey(row, count - 1, [](uint32_t) { return Amount{1}; });
    floor = last.key;
    total = sumOf(row, [&](uint32_t key) { return key > floor ? probability(key) : 0; }) +
            (count - last.before) * probability(floor);
  } else {
    total = sumOf(row, probability);
  }
  if (limits.topP < 1) {
    const auto part = static_cast<Amount>(ceil(limits.topP * static_cast<double>(total)));
    const Amount wanted = min(max(part, Amount{1}), total);
    // Skips tokens below half of (1 - topP) / V, nearly all of them, since they cannot be candidates.
    const auto least = static_cast<Amount>((1 - limits.topP) * static_cast<double>(total)) / (2 * columns);
    const Selected last = selectKey(row, wanted - 1, [&](uint32_t key) {
      const Amount units = key >= floor ? probability(key) : 0;
      return units >= least ? units : 0;
    });
    floor = last.key;
    const Amount each = probability(floor);
    total = last.before + dividedUp(wanted - last.before, each) * each;
  }
  const Amount target = __umul64hi(total, static_cast<Amount>(draw) << 11);  // total * draw / 2^53
  if (floor == 0) return locate(row, target, probability, choose);
  const Selected drawn =
      selectKey(row, target, [&](uint32_t key) { return key >= floor ? probability(key) : Amount{0}; });
  // Several tokens may have this key: `number` is the index of the sampled one among them.
  const Amount number = (target - drawn.before) / probability(drawn.key);
  locate(
      row, number, [&](uint32_t key) { return Amount{key == drawn.key}; }, choose);
}

/// Calls body(T{}, width, blocks, threads) for a launch over the rows of logits.
template <typename Body>
void overRows(const char* operation, const TensorDesc& logits, Body&& body) {
  withFloatType(logits.dtype, operation, [&](auto type) {
    using T = decltype(type);
    constexpr int kWide = kVectorWidth<T>;
    withWidth<kWide>(allRowsFit(kWide, logits), [&](auto width) {
      body(type, width, dim3(static_cast<unsigned>(logits.shape[0])),
           dim3(threadsFor(ceilDivide(columnsOf(logits), width), kThreads)));
    });
  });
  checkLaunch(operation);
}

}  // namespace

void argmax(Context& context, TensorDesc logits, TensorDesc ids) {
  if (logits.shape[0] == 0) return;
  expectCost(bytesOf(logits), bytesOf(ids));
  overRows("argmax", logits, [&](auto type, auto width, dim3 grid, dim3 block) {
    using T = decltype(type);
    launch(argmaxRows<T, width>, grid, block, 0, context.stream, rowsOf<const T>(logits), columnsOf(logits),
           static_cast<int32_t*>(ids.data));
  });
}

void sample(Context& context, TensorDesc logits, TensorDesc draws, Sampling sampling, TensorDesc ids) {
  const int64_t columns = columnsOf(logits);
  if (logits.shape[0] == 0) return;
  if (columns > kMostColumns) unsupported("sample of more than " + std::to_string(kMostColumns) + " columns");
  // Finite and not 0, so that the largest logit's distance stays 0 and that of -inf stays infinite.
  const double inverse = std::clamp(1 / sampling.temperature, 1e-37, 1e37);
  const Limits limits{static_cast<float>(inverse), sampling.topK < columns ? sampling.topK : 0, sampling.topP};
  expectCost(bytesOf(logits) + bytesOf(draws), bytesOf(ids));
  overRows("sample", logits, [&](auto type, auto width, dim3 grid, dim3 block) {
    using T = decltype(type);
    launch(sampleRows<T, width>, grid, block, 0, context.stream, rowsOf<const T>(logits), columns,
           static_cast<const int64_t*>(draws.data), limits, static_cast<int32_t*>(ids.data), context.report);
  });
}

}  // namespace mora::cuda
