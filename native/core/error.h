// The exceptions of the core: a code for scripts, a sentence for people, and a remedy if one is known.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

namespace mora {

/// Why something cannot be used: clauses without their full stops. `remedy` is empty if none is known.
struct Absence {
  std::string problem, remedy;

  explicit operator bool() const { return !problem.empty(); }
  /// Problem and remedy, without a full stop.
  std::string text() const { return remedy.empty() ? problem : problem + "; " + remedy; }
};

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message, std::string remedy = "")
      : std::runtime_error(message), code_(std::move(code)), remedy_(std::move(remedy)) {}
  const std::string& code() const { return code_; }
  /// A clause that the message contains too; empty if no remedy is known.
  const std::string& remedy() const { return remedy_; }

 private:
  std::string code_, remedy_;
};

/// The device cannot compute the operation, or its backend does not implement it.
class Unsupported : public Error {
 public:
  explicit Unsupported(const std::string& message) : Error("unsupported", message) {}
};

}  // namespace mora
