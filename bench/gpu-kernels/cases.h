// What can be timed, by the operations' names in core/backend.h.
#pragma once
#include <span>

#include "bench.h"
#include "shapes.h"

namespace mora::bench {

struct Case {
  const char* operation;
  /// Times the operation at one shape, once or in several ways.
  void (*run)(Bench& bench, const Shape& shape);
};

std::span<const Case> rowCases();
std::span<const Case> attentionCases();
std::span<const Case> lossCases();
std::span<const Case> adapterCases();

/// `text` of what is measured in a shape: "Llama-2-7B 4096x11008".
std::string describe(const Shape& shape, std::initializer_list<int64_t> sizes, const char* more = "");

}  // namespace mora::bench
