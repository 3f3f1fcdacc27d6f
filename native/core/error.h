// The exceptions of the core: a code for scripts, a sentence for people, and what helps where that is known.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

namespace mora {

/// Why something cannot be used: clauses without their full stops. `remedy` is empty where nothing is known to help.
struct Absence {
  std::string problem, remedy;

  explicit operator bool() const { return !problem.empty(); }
  /// Both, without a full stop.
  std::string text() const { return remedy.empty() ? problem : problem + "; " + remedy; }
};

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message, std::string remedy = "")
      : std::runtime_error(message), code_(std::move(code)), remedy_(std::move(remedy)) {}
  const std::string& code() const { return code_; }
  /// A clause that the message has too; empty where nothing is known to help.
  const std::string& remedy() const { return remedy_; }

 private:
  std::string code_, remedy_;
};

/// A device cannot compute that, or its backend has no code for it.
class Unsupported : public Error {
 public:
  explicit Unsupported(const std::string& message) : Error("unsupported", message) {}
};

}  // namespace mora
