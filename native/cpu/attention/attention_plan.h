// How attention divides its input, without any arithmetic: documents, tasks and their order, and memory for the
// threads.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/tensor_view.h"

namespace mora::cpu {

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

/// One document of a packed batch. Tasks count positions from its first query and its first key.
struct Document {
  int64_t firstQuery, queries, firstKey, keys;
  int64_t window;  // the largest number of keys that a query sees

  /// Query `query` sees keys [firstVisible, visibleKeys): the last query sees the last key.
  int64_t visibleKeys(int64_t query) const { return std::clamp<int64_t>(query + 1 + keys - queries, 0, keys); }
  int64_t firstVisible(int64_t query) const {
    return std::clamp<int64_t>(query + 1 + keys - queries - window, 0, keys);
  }

  /// Queries [firstQueryOf, endQueryOf) see key `key`.
  int64_t firstQueryOf(int64_t key) const { return std::clamp<int64_t>(key + queries - keys, 0, queries); }
  int64_t endQueryOf(int64_t key) const { return std::clamp<int64_t>(key + queries - keys + window, 0, queries); }
};

/// A rank 3 tensor [T, heads, E].
template <typename T>
struct Heads {
  T* data;
  int64_t rowStride, headStride;

  explicit Heads(const TensorDesc& tensor)
      : data(static_cast<T*>(tensor.data)), rowStride(tensor.strides[0]), headStride(tensor.strides[1]) {}
  T* at(int64_t row, int64_t head) const { return data + row * rowStride + head * headStride; }
};

/// Keys or values [Tk, heads, E]. Key `key` is the row that `rows` has there, or the row `key` if there are none.
template <typename T>
struct KeyHeads {
  Heads<const T> heads;
  const int32_t* rows;

  explicit KeyHeads(const TensorDesc& tensor, const int32_t* keyRows = nullptr) : heads(tensor), rows(keyRows) {}
  const T* at(int64_t key, int64_t head) const { return heads.at(rows == nullptr ? key : rows[key], head); }
};

/// A part of the work, whose result depends on nothing else. `keys` limits the keys that it reads.
struct AttentionTask {
  Document document;
  int64_t kvHead;
  Range queries, keys;
  bool writesQueries, writesKeys;  // backward: dQ of `queries`, dK and dV of `keys`
  // Forward pass: the number of heads from kvHead on, and the index of their first partial result if keys are split, or
  // -1.
  int64_t kvHeads = 1, partial = -1;

  /// The task of one of its heads.
  AttentionTask ofHead(int64_t head) const {
    AttentionTask one = *this;
    one.kvHead += head, one.kvHeads = 1;
    if (partial >= 0) one.partial += head;
    return one;
  }

  /// Approximate number of products of a query and a key.
  int64_t cost() const {
    if (!writesQueries && document.window < document.keys) return 64 + keys.size() * (document.window + 16);
    const int64_t middle = (queries.begin + queries.end) / 2;
    const int64_t seen = document.visibleKeys(middle) - std::max(keys.begin, document.firstVisible(middle));
    return kvHeads * (64 + queries.size() * std::clamp<int64_t>(seen, 16, std::max<int64_t>(keys.size(), 16)));
  }
};

/// Sorts heavy tasks first, so that the team's members finish together. Stable.
inline void sortByCost(std::vector<AttentionTask>& tasks) {
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const AttentionTask& a, const AttentionTask& b) { return a.cost() > b.cost(); });
}

inline int64_t totalCost(const std::vector<AttentionTask>& tasks) {
  int64_t cost = 0;
  for (const AttentionTask& task : tasks) cost += task.cost();
  return cost;
}

/// The time until the last task ends when a team takes tasks in the given order.
inline int64_t makespan(const std::vector<AttentionTask>& tasks, int64_t threads) {
  std::vector<int64_t> busy(static_cast<size_t>(threads), 0);
  for (const AttentionTask& task : tasks) *std::min_element(busy.begin(), busy.end()) += task.cost();
  return *std::max_element(busy.begin(), busy.end());
}

/// Calls body(task, member) for tasks with head size E that are sorted by cost. Members start with the heaviest tasks
/// and get equally many, so that they finish together.
template <typename Body>
void shareTasks(const std::vector<AttentionTask>& tasks, int64_t E, Body&& body) {
  const auto count = static_cast<int64_t>(tasks.size());
  const int64_t members = totalCost(tasks) * E < 2 * kSmallWork ? 1 : teamSize();
  if (members == 1) {
    for (const AttentionTask& task : tasks) body(task, 0);
    return;
  }
  std::vector<const AttentionTask*> dealt;
  dealt.reserve(tasks.size());
  for (int64_t member = 0; member < members; ++member)
    for (int64_t i = member; i < count; i += members) dealt.push_back(&tasks[static_cast<size_t>(i)]);
  shareItems(count, [&](int64_t i, int member) { body(*dealt[static_cast<size_t>(i)], member); });
}

/// Calls body(begin, end) for consecutive parts of [0, count).
template <typename Body>
void forChunks(int64_t count, int64_t chunk, Body&& body) {
  for (int64_t begin = 0; begin < count; begin += chunk) body(Range{begin, std::min(begin + chunk, count)});
}

constexpr int64_t kMostSplitRows = 32;  // documents with more rows are not split by keys
constexpr int64_t kTaskKeys = 512;      // keys of a task that writes only dK and dV

struct ForwardPlan {
  std::vector<AttentionTask> tasks;
  std::vector<AttentionTask> splits;  // the tasks that were split: partial is the index of each one's first part
  int64_t partials = 0;
};

/// Splits documents of few rows (decoding with a cache) by keys and by some neighbouring heads, other documents by
/// heads and queries. The plan does not depend on the number of threads.
inline ForwardPlan planForward(const std::vector<Document>& documents, int64_t kvHeads, int64_t group,
                               int64_t chunkQueries) {
  constexpr int64_t kSplitKeys = 128, kSplitHeads = 4;  // small enough for even shares and for the caches
  ForwardPlan plan;
  for (const Document& document : documents) {
    const bool few = document.queries * group <= kMostSplitRows;
    forChunks(kvHeads, few ? kSplitHeads : 1, [&](Range heads) {
      forChunks(document.queries, chunkQueries, [&](Range queries) {
        const Range seen{document.firstVisible(queries.begin), document.visibleKeys(queries.end - 1)};
        AttentionTask task{document, heads.begin, queries, seen, true, false, heads.size()};
        if (!few || seen.size() <= kSplitKeys) return plan.tasks.push_back(task);
        task.partial = plan.partials;
        plan.splits.push_back(task);
        forChunks(seen.size(), kSplitKeys, [&](Range part) {
          task.keys = {seen.begin + part.begin, seen.begin + part.end}, task.partial = plan.partials;
          plan.tasks.push_back(task);
          plan.partials += heads.size();
        });
      });
    });
  }
  sortByCost(plan.tasks);
  return plan;
}

/// One task for each document and head; or separate tasks for dQ and for dK and dV if single tasks would leave threads
/// idle: these compute probabilities twice, 7 products instead of 5, but can be of any size.
inline std::vector<AttentionTask> planBackward(const std::vector<Document>& documents, int64_t kvHeads,
                                               int64_t chunkQueries, int64_t chunkKeys, int64_t threads) {
  std::vector<AttentionTask> whole, parts;
  for (const Document& document : documents) {
    const Range queries{0, document.queries}, keys{0, document.keys};
    for (int64_t head = 0; head < kvHeads; ++head) {
      whole.push_back({document, head, queries, keys, true, true});
      forChunks(document.queries, chunkQueries, [&](Range chunk) {
        parts.push_back({document, head, chunk, keys, true, false});
      });
      forChunks(document.keys, chunkKeys, [&](Range chunk) {
        parts.push_back({document, head, queries, chunk, false, true});
      });
    }
  }
  sortByCost(whole);
  sortByCost(parts);
  if (makespan(whole, threads) * 5 * threads <= totalCost(whole) * 7) return whole;
  return parts;
}

/// The documents between offsets [B + 1]. They cover all queries; keys may follow the last document (an unfilled cache)
/// if `keysMayRemain`. A query sees at most `window` keys; 0 is no limit.
inline std::vector<Document> documentsOf(const char* operation, const TensorDesc& queryOffsets,
                                         const TensorDesc& keyOffsets, int64_t queries, int64_t keys,
                                         bool keysMayRemain, int64_t window) {
  const int64_t count = elementsOf(queryOffsets) - 1;
  const auto* const queryStarts = static_cast<const int32_t*>(queryOffsets.data);
  const auto* const keyStarts = static_cast<const int32_t*>(keyOffsets.data);
  std::vector<Document> documents;
  int64_t query = queryStarts[0], key = keyStarts[0];
  bool valid = query == 0 && key == 0;
  for (int64_t i = 0; i < count && valid; ++i) {
    const int64_t nextQuery = queryStarts[i + 1], nextKey = keyStarts[i + 1];
    valid = nextQuery >= query && nextKey >= key;
    documents.push_back({query, nextQuery - query, key, nextKey - key, window > 0 ? window : keys});
    query = nextQuery, key = nextKey;
  }
  if (!valid || query != queries || key > keys || (key < keys && !keysMayRemain)) {
    throw std::invalid_argument(std::string(operation) + " expected offsets that rise from 0 to the " +
                                std::to_string(queries) + " queries and " + std::to_string(keys) +
                                " keys but they end at " + std::to_string(query) + " and " + std::to_string(key));
  }
  return documents;
}

/// Lays out buffers one after the other, 64-byte aligned. A carver without memory measures the size needed.
class Carver {
 public:
  explicit Carver(void* memory) : base_(reinterpret_cast<uintptr_t>(memory)) {}

  template <typename T>
  T* take(int64_t count) {
    const uintptr_t start = base_ + used_;
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(start);
  }
  size_t used() const { return used_; }

 private:
  uintptr_t base_;
  size_t used_ = 0;
};

inline int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace mora::cpu
