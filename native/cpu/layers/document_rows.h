// Offsets of packed documents, which are data and therefore checked when an operation runs.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

#include "cpu/tensor_view.h"

namespace mora::cpu {

/// Returns offsets [B + 1]; throws unless they rise from 0 to `rows`.
inline const int32_t* risingOffsets(const char* operation, const TensorDesc& offsets, int64_t rows) {
  const auto* const starts = static_cast<const int32_t*>(offsets.data);
  const int64_t last = offsets.shape[0] - 1;
  for (int64_t i = 0; i <= last; ++i) {
    const bool rises = i == 0 ? starts[i] == 0 : starts[i] >= starts[i - 1];
    if (!rises || starts[i] > rows || (i == last && starts[i] != rows))
      throw std::invalid_argument(std::string(operation) + " expected offsets that rise from 0 to the " +
                                  std::to_string(rows) + " rows but offset " + std::to_string(i) + " is " +
                                  std::to_string(starts[i]));
  }
  return starts;
}

}  // namespace mora::cpu
