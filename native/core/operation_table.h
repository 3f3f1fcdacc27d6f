// The operations of core/operations.def by name and number.
#pragma once
#include <string>
#include <string_view>

#include "core/backend.h"
#include "core/error.h"

namespace mora {

struct OperationEntry {
  Operation operation;
  const char* name;
  std::string_view parameters;  // "In x, Flag inverse"

  /// Whether the operation has a parameter of that kind.
  constexpr bool takes(std::string_view kind) const {
    for (size_t at = 0; (at = parameters.find(kind, at)) != std::string_view::npos; at += kind.size())
      if ((at == 0 || parameters[at - 1] == ' ') && parameters.substr(at + kind.size()).starts_with(' ')) return true;
    return false;
  }
};

inline constexpr OperationEntry kOperations[] = {
#define MORA_OPERATION(name, ...) {Operation::name, #name, #__VA_ARGS__},
#include "core/operations.def"
};

/// The entry of an operation that is not `none`.
constexpr const OperationEntry& entryOf(Operation operation) {
  return kOperations[static_cast<int32_t>(operation) - 1];
}

/// The operation's name; "an operation" for `none`.
constexpr const char* nameOf(Operation operation) {
  return operation == Operation::none ? "an operation" : entryOf(operation).name;
}

inline const OperationEntry& operationNamed(std::string_view name) {
  for (const OperationEntry& entry : kOperations)
    if (entry.name == name) return entry;
  throw Error("invalid-argument", "There is no operation " + std::string(name) + ".");
}

}  // namespace mora
