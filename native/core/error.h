// The one exception of the core: a code for scripts and a sentence for people.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

namespace mora {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace mora
