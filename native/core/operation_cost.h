// What a call of an operation costs, as the profile of every backend shows it.
#pragma once
#include <algorithm>
#include <string_view>

#include "core/profile.h"

namespace mora {

/// An operation's name, for templates.
template <size_t N>
struct Name {
  constexpr Name(const char (&text)[N]) { std::copy(text, text + N, value); }
  constexpr std::string_view view() const { return {value, N - 1}; }
  char value[N];
};

/// Of `name` called with these arguments of core/backend.h.
template <Name name, typename... Args>
Cost costOfCall(const Args&... args) {
  if constexpr (name.view() == "matmul")
    return matmulCost(args...);
  else if constexpr (name.view() == "matmulInt8")
    return matmulInt8Cost(args...);
  else if constexpr (name.view() == "attention")
    return attentionCost(args...);
  else if constexpr (name.view() == "attentionBackward")
    return attentionBackwardCost(args...);
  else if constexpr (name.view().starts_with("blocks"))
    return blocksCost(args...);
  else
    return costOf(args...);
}

}  // namespace mora
