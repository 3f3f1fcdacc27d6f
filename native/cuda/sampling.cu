// Chooses the next token from rows of logits: the likeliest, or a sampled one; and what surrounds the choice, changes
// of logits before it and log-probabilities after it.
//
//   logits [N, V] in f32, bf16 or f16, with any row stride; draws [N] i64 in [0, 2^53); settings [N] of Sampling;
//   ids [N] i32.
//
// One block per row: there are few rows, and a row stays in the second-level cache for all passes over it. The first
// pass reads it from memory (N V elements), and only ids are written.
//
// Sampling asks one kind of question up to four times: in some order, mostly that of likelihood, where does the running
// sum of some amount pass a target? Amounts of 1 find the topK-th token; probabilities find where topP and typicalP are
// reached, and the token of the random number. selectKey answers in four passes, each of which adds amounts to 256 bins
// by the next 8 bits of a token's place in the order. Amounts are integers, probabilities in units of 2^-40 of the
// likeliest token's: sums are exact in any order, so atomic additions give the same bits every time, and no sort is
// needed.
#include "cuda/block_reduce.h"
#include "cuda/dispatch.h"
#include "cuda/index_report.h"
#include "cuda/kernels.h"
#include "cuda/offsets.h"
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

/// A logit's key above the complement of its column, so that of equal keys the lowest column is the largest: the
/// largest one of a row that is below `limit`.
template <typename T, int N>
__device__ __forceinline__ Amount largestUpTo(const Row<T, N>& row, Amount limit) {
  MORA_SHARED(Amount, best, [kWarp]);
  Amount most = 0;
  row.forEach([&](int64_t column, float logit) {
    const Amount place = Amount{keyOf(logit)} << 32 | ~static_cast<uint32_t>(column);
    if (place <= limit) most = max(most, place);
  });
  for (unsigned offset = kWarp / 2; offset > 0; offset /= 2)
    most = max(most, __shfl_xor_sync(kWholeWarp, most, offset));
  return combineWarps(most, best, [](Amount a, Amount b) { return max(a, b); });
}

template <typename T, int N>
__device__ __forceinline__ Largest largestOf(const Row<T, N>& row) {
  const Amount most = largestUpTo(row, ~Amount{0});
  return {static_cast<uint32_t>(most >> 32), ~static_cast<uint32_t>(most)};
}

/// The sum of amount(key, column) over a row, for every thread.
template <typename T, int N, typename Of>
__device__ __forceinline__ Amount sumOf(const Row<T, N>& row, Of&& amount) {
  MORA_SHARED(Amount, sums, [kWarp]);
  Amount sum = 0;
  row.forEach([&](int64_t column, float logit) { sum += amount(keyOf(logit), column); });
  return combineWarps(warpSum(sum), sums, [](Amount a, Amount b) { return a + b; });
}

/// A key or other place, and the sum of the amounts of all larger ones.
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

/// The order of likelihood.
struct ByLogit {
  __device__ __forceinline__ uint32_t operator()(uint32_t key) const { return key; }
};

/// The largest place order(key) at which the running sum of amount(key, column), from the largest place down, exceeds
/// `target`, which is less than the total.
template <typename T, int N, typename Order, typename Of>
__device__ Selected selectKey(const Row<T, N>& row, Amount target, Order&& order, Of&& amount) {
  MORA_SHARED(Bins, bins, );
  MORA_SHARED(Selected, next, );
  Selected selected{0, 0};
  for (int shift = 24; shift >= 0; shift -= 8) {
    bins.clear();
    __syncthreads();
    row.forEach([&](int64_t column, float logit) {
      const uint32_t key = keyOf(logit), place = order(key);
      // 64 bits, because a shift by 32 must give 0.
      if ((uint64_t{place ^ selected.key}) >> (shift + 8) != 0) return;
      const Amount added = amount(key, column);
      if (added > 0) bins.add(place >> shift & (kBins - 1), added);
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

/// Finds the first column at which the running sum of amount(key, column) exceeds `target`, which is less than the
/// total; one thread gets it and calls found(column). Each warp sums a part of the row, then the warp of the answer
/// searches its part.
template <typename T, int N, typename Of, typename Found>
__device__ void locate(const Row<T, N>& row, Amount target, Of&& amount, Found&& found) {
  MORA_SHARED(Amount, sums, [kWarp]);
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t warps = blockDim.x / kWarp, part = (row.columns + warps - 1) / warps;
  const int64_t begin = part * warp, end = min(row.columns, begin + part);
  const auto at = [&](int64_t column) {
    return column < end ? amount(keyOf(toFloat(row.logits[column])), column) : Amount{0};
  };
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

/// Probabilities in units of kUnits for the largest logit, those below `least` as 0.
struct Probability {
  float largest, inverseTemperature;
  Amount least;

  /// Rounded step by step, so that every pass computes the same.
  __device__ __forceinline__ float scaled(uint32_t key) const {
    return __fmul_rn(__fsub_rn(logitOf(key), largest), inverseTemperature);
  }
  __device__ __forceinline__ Amount operator()(uint32_t key) const {
    const auto units = static_cast<Amount>(__fmul_rn(expf(scaled(key)), kUnits));
    return units >= least ? units : 0;
  }
};

__device__ __forceinline__ Probability probabilityOf(const Sampling& sampling, float largest) {
  // Finite and not 0, so that the largest logit's distance stays 0 and that of -inf stays infinite.
  const float inverse = fminf(fmaxf(1 / sampling.temperature, 1e-37f), 1e37f);
  const float least = sampling.minP > 0 ? fminf(sampling.minP, 1) : 0;
  return {largest, inverse, static_cast<Amount>(ceil(static_cast<double>(least) * kUnits))};
}

/// The order of typicalP: surprises differ from the entropy as scaled logits do from their mean, with the opposite
/// sign.
struct ByDistance {
  Probability probability;
  float mean;

  __device__ __forceinline__ uint32_t operator()(uint32_t key) const {
    return ~__float_as_uint(fabsf(__fsub_rn(probability.scaled(key), mean)));
  }
};

/// Tokens with keys from `floor` up, of those at the floor the ones up to a column.
struct Candidates {
  Probability probability;
  uint32_t floor;
  int64_t lastAtFloor;

  __device__ __forceinline__ Amount operator()(uint32_t key, int64_t column) const {
    return key > floor || (key == floor && column <= lastAtFloor) ? probability(key) : 0;
  }
};

__device__ __forceinline__ Amount dividedUp(Amount amount, Amount by) { return (amount + by - 1) / by; }

/// The least amount that is at least `share` of the total, and at least 1.
__device__ __forceinline__ Amount partOf(Amount total, float share) {
  const auto part = static_cast<Amount>(ceil(static_cast<double>(fmaxf(share, 0)) * static_cast<double>(total)));
  return min(max(part, Amount{1}), total);
}

/// ids = columns of the largest logits; see Largest for rows without a choice.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 1) argmaxRows(Rows<const T> logits, int64_t columns, int32_t* ids) {
  const Largest largest = largestOf(Row<T, N>{logits.at(blockIdx.x), columns});
  if (threadIdx.x == 0) ids[blockIdx.x] = largest.id();
}

/// ids = sampled columns. Candidates are tokens with keys from `floor` up; of several tokens at the floor only the
/// first `atFloor` are included. `total` is the sum of the candidates' probabilities: targets are below it.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 1)
    sampleRows(Rows<const T> logits, int64_t columns, const int64_t* draws, const Sampling* settings, int32_t* ids,
               DeviceReport* report) {
  MORA_SHARED(int64_t, located, );
  const Row<T, N> row{logits.at(blockIdx.x), columns};
  int32_t& id = ids[blockIdx.x];
  const int64_t draw = draws[blockIdx.x];
  if (draw < 0 || draw >= kDraws) {
    if (threadIdx.x == 0) reportIndex(report, Operation::sample, blockIdx.x, draw, kDraws);
    return;
  }
  const Sampling sampling = settings[blockIdx.x];
  const Largest largest = largestOf(row);
  if (!largest.chosen() || sampling.greedy()) {
    if (threadIdx.x == 0) id = largest.id();
    return;
  }
  const Probability probability = probabilityOf(sampling, logitOf(largest.key));
  const auto choose = [&](int64_t column) { id = static_cast<int32_t>(column); };

  uint32_t floor = 0;
  Amount total, atFloor = 0;
  if (sampling.limits(columns)) {
    const auto count = static_cast<Amount>(sampling.topK);
    const Selected last = selectKey(row, count - 1, ByLogit(), [](uint32_t, int64_t) { return Amount{1}; });
    floor = last.key;
    atFloor = count - last.before;
    total = sumOf(row, [&](uint32_t key, int64_t) { return key > floor ? probability(key) : 0; }) +
            atFloor * probability(floor);
  } else {
    total = sumOf(row, [&](uint32_t key, int64_t) { return probability(key); });
  }
  if (sampling.topP < 1) {
    const Amount wanted = partOf(total, sampling.topP);
    // Skips tokens below half of (1 - topP) / V, nearly all of them, since they cannot be candidates.
    const auto least =
        static_cast<Amount>((1 - static_cast<double>(fmaxf(sampling.topP, 0))) * static_cast<double>(total)) /
        (2 * columns);
    const Selected last = selectKey(row, wanted - 1, ByLogit(), [&](uint32_t key, int64_t) {
      const Amount units = key >= floor ? probability(key) : 0;
      return units >= least ? units : 0;
    });
    floor = last.key;
    const Amount each = probability(floor);
    atFloor = dividedUp(wanted - last.before, each);
    total = last.before + atFloor * each;
  }
  Candidates candidates{probability, floor, columns};
  ByDistance order{probability, 0};
  uint32_t nearest = 0;
  if (sampling.typicalP < 1) {
    if (floor > 0) {
      locate(
          row, atFloor - 1, [&](uint32_t key, int64_t) { return Amount{key == floor}; },
          [&](int64_t column) { located = column; });
      __syncthreads();
      candidates.lastAtFloor = located;
    }
    const Amount below = sumOf(row, [&](uint32_t key, int64_t column) {
      const Amount units = candidates(key, column);
      return units > 0 ? static_cast<Amount>(__fmul_rn(static_cast<float>(units), -probability.scaled(key))) : 0;
    });
    order.mean = static_cast<float>(-static_cast<double>(below) / static_cast<double>(total));
    nearest = selectKey(row, partOf(total, sampling.typicalP) - 1, order, candidates).key;
    total =
        sumOf(row, [&](uint32_t key, int64_t column) { return order(key) >= nearest ? candidates(key, column) : 0; });
  }
  const auto amount = [&](uint32_t key, int64_t column) {
    return nearest == 0 || order(key) >= nearest ? candidates(key, column) : 0;
  };
  const Amount target = __umul64hi(total, static_cast<Amount>(draw) << 11);  // total * draw / 2^53
  if (floor == 0) return locate(row, target, amount, choose);
  const Selected drawn = selectKey(row, target, ByLogit(), amount);
  // Several tokens may have this key: `number` is the index of the sampled one among them.
  const Amount number = (target - drawn.before) / probability(drawn.key);
  locate(
      row, number, [&](uint32_t key, int64_t) { return Amount{key == drawn.key}; }, choose);
}

/// Adds to, scales and shifts single logits: one block for each row, 16 bytes read for each change. Wrong offsets never
/// lead outside the `count` changes.
__global__ void editRows(const int32_t* offsets, const int32_t* ids, const float* changes, int64_t count,
                         Rows<float> logits, int64_t columns, DeviceReport* report) {
  const int64_t row = blockIdx.x, end = min(static_cast<int64_t>(offsets[row + 1]), count);
  for (int64_t i = max(int32_t{0}, offsets[row]) + static_cast<int64_t>(threadIdx.x); i < end; i += blockDim.x) {
    const int64_t id = ids[i];
    if (!indexFits(report, Operation::editLogits, i, id, columns)) continue;
    const float* const change = changes + 3 * i;
    float& logit = logits.at(row)[id];
    const float biased = logit + change[0];
    logit = (biased > 0 ? biased / change[1] : biased * change[1]) + change[2];
  }
}

/// Forbids columns whose bit is 0; reads the mask, and writes only what is forbidden.
__global__ void maskRows(Rows<const uint32_t> mask, const int32_t* rows, int64_t count, Rows<float> logits,
                         int64_t columns, int64_t limit, DeviceReport* report) {
  forPieces(count, columns, [&](int64_t i, int64_t column) {
    if (!indexFits(report, Operation::maskLogits, i, rows[i], limit)) return;
    if ((mask.at(i)[column / 32] >> (column % 32) & 1) == 0) logits.at(rows[i])[column] = -INFINITY;
  });
}

/// Ranks, largest columns and log-probabilities. One block per row, which it reads 2 + n times, from memory once.
template <int N>
__global__ void __launch_bounds__(kThreads, 1)
    rankRows(Rows<const float> logits, int64_t columns, const int32_t* ids, int32_t* ranks, Rows<int32_t> top,
             int64_t most, Rows<float> logprobs, DeviceReport* report) {
  MORA_SHARED(double, sums, [kThreads]);
  MORA_SHARED(Amount, parts, [kWarp]);
  const Row<float, N> row{logits.at(blockIdx.x), columns};
  const int64_t id = ids[blockIdx.x];
  if (!indexFits(report, Operation::logProbabilities, blockIdx.x, id, columns)) return;
  const float own = row.logits[id], largest = row.logits[largestOf(row).column];
  double sum = 0;
  Amount larger = 0;
  row.forEach([&](int64_t, float logit) {
    sum += expf(logit - largest);
    larger += logit > own;
  });
  const double logSum = largest + log(blockSumWide(sum, sums));
  larger = combineWarps(warpSum(larger), parts, [](Amount a, Amount b) { return a + b; });
  if (threadIdx.x == 0) {
    ranks[blockIdx.x] = static_cast<int32_t>(larger) + 1;
    logprobs.at(blockIdx.x)[0] = static_cast<float>(own - logSum);
  }
  Amount limit = ~Amount{0};
  for (int64_t i = 0; i < most; ++i) {
    const Amount place = largestUpTo(row, limit);
    limit = place - 1;
    if (threadIdx.x != 0) continue;
    const auto column = static_cast<int32_t>(~static_cast<uint32_t>(place));
    top.at(blockIdx.x)[i] = column;
    logprobs.at(blockIdx.x)[1 + i] = static_cast<float>(row.logits[column] - logSum);
  }
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

void sample(Context& context, TensorDesc logits, TensorDesc draws, TensorDesc settings, TensorDesc ids) {
  const int64_t columns = columnsOf(logits);
  if (logits.shape[0] == 0) return;
  if (columns > kMostColumns) unsupported("sample of more than " + std::to_string(kMostColumns) + " columns");
  expectCost(bytesOf(logits) + bytesOf(draws) + bytesOf(settings), bytesOf(ids));
  overRows("sample", logits, [&](auto type, auto width, dim3 grid, dim3 block) {
    using T = decltype(type);
    launch(sampleRows<T, width>, grid, block, 0, context.stream, rowsOf<const T>(logits), columns,
           static_cast<const int64_t*>(draws.data), static_cast<const Sampling*>(settings.data),
           static_cast<int32_t*>(ids.data), context.report);
  });
}

void editLogits(Context& context, TensorDesc offsets, TensorDesc ids, TensorDesc changes, TensorDesc logits) {
  const int64_t count = ids.shape[0];
  requireOffsets(context, Operation::editLogits, offsets, count);
  if (logits.shape[0] == 0 || count == 0) return;
  expectCost(bytesOf(offsets) + bytesOf(ids) + bytesOf(changes) + bytesOf(ids), bytesOf(ids));
  launchRows(editRows, logits.shape[0], threadsFor(ceilDivide(count, logits.shape[0]), kThreads), context.stream,
             static_cast<const int32_t*>(offsets.data), static_cast<const int32_t*>(ids.data),
             static_cast<const float*>(changes.data), count, rowsOf<float>(logits), columnsOf(logits), context.report);
  checkLaunch("editLogits");
}

void maskLogits(Context& context, TensorDesc mask, TensorDesc rows, TensorDesc logits) {
  const int64_t count = rows.shape[0], columns = columnsOf(logits);
  if (count == 0 || columns == 0) return;
  expectCost(bytesOf(mask) + bytesOf(rows), static_cast<uint64_t>(count * columns) * sizeof(float));
  launchPieces(maskRows, count, columns, context.stream, rowsOf<const uint32_t>(mask),
               static_cast<const int32_t*>(rows.data), count, rowsOf<float>(logits), columns, logits.shape[0],
               context.report);
  checkLaunch("maskLogits");
}

void logProbabilities(Context& context, TensorDesc logits, TensorDesc ids, TensorDesc ranks, TensorDesc top,
                      TensorDesc logprobs) {
  if (logits.shape[0] == 0) return;
  expectCost(bytesOf(logits) + bytesOf(ids), bytesOf(ranks) + bytesOf(top) + bytesOf(logprobs));
  constexpr int kWide = kVectorWidth<float>;
  withWidth<kWide>(allRowsFit(kWide, logits), [&](auto width) {
    launchRows(rankRows<width>, logits.shape[0], threadsFor(ceilDivide(columnsOf(logits), width), kThreads),
               context.stream, rowsOf<const float>(logits), columnsOf(logits), static_cast<const int32_t*>(ids.data),
               static_cast<int32_t*>(ranks.data), rowsOf<int32_t>(top), columnsOf(top), rowsOf<float>(logprobs),
               context.report);
  });
  checkLaunch("logProbabilities");
}

}  // namespace mora::cuda
