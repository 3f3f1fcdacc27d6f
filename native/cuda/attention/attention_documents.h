// Positions of attention's documents, and the tiles that blocks work on. Offsets are in device memory, so the host
// launches the largest possible number of tiles, and every block finds its own.
#pragma once
#include <cstdint>

#include "cuda/device_code.h"

namespace mora::cuda {

/// A tensor [T, heads, E] whose last dimension is dense.
template <typename T>
struct Heads {
  T* data;
  int64_t rowStride, headStride;  // in elements

  __device__ __forceinline__ T* at(int64_t row, int64_t head) const {
    return data + row * rowStride + head * headStride;
  }
  __device__ __forceinline__ Heads fromColumn(int32_t column) const { return {data + column, rowStride, headStride}; }
};

/// Where keys lie in k and v: key `key` in row `key`, or in the row that `rows` has there.
struct KeyRows {
  const int32_t* rows;  // or null
  int32_t limit;        // rows of k and v

  __device__ __forceinline__ int64_t of(int64_t key) const {
    return rows == nullptr ? key : max(0, min(rows[key], limit - 1));
  }
};

/// One document of a packed batch. Positions count from its first query and its first key.
struct Document {
  int32_t firstQuery, queries, firstKey, keys;

  /// Number of keys that query `query` sees without a window: the last query sees all.
  __device__ __forceinline__ int32_t visibleKeys(int32_t query) const {
    return max(0, min(query + 1 + keys - queries, keys));
  }
  /// The first query that sees key `key`.
  __device__ __forceinline__ int32_t firstQueryOf(int32_t key) const {
    return max(0, min(key + queries - keys, queries));
  }
};

/// Offsets [count + 1] of queries and keys.
struct Documents {
  const int32_t* queryOffsets;
  const int32_t* keyOffsets;
  int32_t count, queries, keys;  // number of documents; rows of the tensors, which bound the offsets

  /// The first query of a document; for `count`, the end of the last document.
  __device__ __forceinline__ int32_t firstQuery(int32_t document) const {
    return start(queryOffsets, document, queries);
  }
  __device__ __forceinline__ int32_t firstKey(int32_t document) const { return start(keyOffsets, document, keys); }

  __device__ __forceinline__ Document at(int32_t document) const {
    const int32_t query = firstQuery(document), key = firstKey(document);
    return {query, max(0, firstQuery(document + 1) - query), key, max(0, firstKey(document + 1) - key)};
  }

 private:
  static __device__ __forceinline__ int32_t start(const int32_t* offsets, int32_t document, int32_t limit) {
    return document == 0 ? 0 : max(0, min(offsets[document], limit));
  }
};

/// The last index in [0, count) with start(index) <= value; `start` is increasing, and start(0) <= value.
template <typename Start>
__device__ __forceinline__ int32_t lastNotAfter(int32_t count, int32_t value, Start&& start) {
  int32_t low = 0, high = count;
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    if (start(middle) <= value)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/// A tile: rows [first, first + kRows) of a document, or fewer at its end.
struct DocumentTile {
  int32_t document, first;
};

/// Tiles of `kRows` rows of document b are numbered from firstRow(b) / kRows + b, which leaves room for the tiles of
/// all documents before it without a sum over documents. Some numbers are past their document's end.
template <int kRows, typename FirstRow>
__device__ __forceinline__ DocumentTile tileOf(int32_t count, int32_t number, FirstRow&& firstRow) {
  const auto start = [&](int32_t document) { return firstRow(document) / kRows + document; };
  const int32_t document = lastNotAfter(count, number, start);
  return {document, (number - start(document)) * kRows};
}

/// The work of a block for a tile of queries of one head; blockIdx.y is the head.
struct QueryTile {
  Document document;
  int32_t first, rows;     // queries of the document
  int32_t head, keyHead;   // of the queries, of the keys
  int32_t firstKey, keys;  // the range of keys that at least one of the queries sees
  int64_t row;             // of the first query in its tensor
};

/// This block's tile; `rows` is not positive if there is none. A query sees at most `window` keys.
template <int kRows>
__device__ __forceinline__ QueryTile queryTile(const Documents& documents, int32_t group, int32_t window) {
  // The last tiles see the most keys: they start first, so that all blocks end together.
  const auto number = static_cast<int32_t>(gridDim.x - 1 - blockIdx.x), head = static_cast<int32_t>(blockIdx.y);
  const auto firstQuery = [&](int32_t document) { return documents.firstQuery(document); };
  const DocumentTile tile = tileOf<kRows>(documents.count, number, firstQuery);
  const Document document = documents.at(tile.document);
  const int32_t rows = min(kRows, document.queries - tile.first);
  return {document,
          tile.first,
          rows,
          head,
          head / group,
          max(0, document.visibleKeys(tile.first) - window),
          document.visibleKeys(tile.first + rows - 1),
          int64_t{document.firstQuery} + tile.first};
}

/// The number of tile numbers of tileOf.
inline unsigned tileNumbers(int64_t rows, int64_t documents, int64_t tileRows) {
  return static_cast<unsigned>(rows / tileRows + documents);
}

}  // namespace mora::cuda
