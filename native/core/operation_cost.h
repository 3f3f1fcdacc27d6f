// What backends' tables derive from a call: the arguments that wait on the stream, and the cost in the profile.
#pragma once
#include <algorithm>
#include <string_view>
#include <vector>

#include "core/profile.h"

namespace mora {

/// An operation's name, for templates.
template <size_t N>
struct Name {
  constexpr Name(const char (&text)[N]) { std::copy(text, text + N, value); }
  constexpr std::string_view view() const { return {value, N - 1}; }
  char value[N];
};

/// An argument as a waiting operation stores it: lists are copied.
template <typename T>
T kept(const T& argument) {
  return argument;
}
class KeptList {
 public:
  explicit KeptList(const TensorList& list) : tensors_(list.tensors, list.tensors + list.count) {}
  operator TensorList() const { return {tensors_.data(), static_cast<int64_t>(tensors_.size())}; }

 private:
  std::vector<TensorDesc> tensors_;
};
inline KeptList kept(const TensorList& list) { return KeptList(list); }

/// The cost of the operation `name` with these arguments of core/backend.h.
template <Name name, typename... Args>
Cost costOfCall(const Args&... args) {
  if constexpr (name.view() == "matmul")
    return matmulCost(args...);
  else if constexpr (name.view() == "matmulInt8")
    return matmulInt8Cost(args...);
  else if constexpr (name.view() == "matmulCodes")
    return matmulCodesCost(args...);
  else if constexpr (name.view() == "attention")
    return attentionCost(args...);
  else if constexpr (name.view() == "attentionBackward")
    return attentionBackwardCost(args...);
  else if constexpr (name.view().starts_with("sections"))
    return sectionsCost(args...);
  else if constexpr (name.view() == "adamw")
    return adamwCost(args...);
  else
    return costOf(args...);
}

}  // namespace mora
