// Shared by the C++ tests: CHECK counts and prints failures, `finish` is a test's exit status. With MORA_TEST_BAIL in
// its environment, a test ends at the first failure.
#pragma once
#include <cstdio>
#include <cstdlib>

namespace mora::test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline bool check(bool holds, const char* what, const char* file, int line) {
  if (holds) return true;
  ++failures();
  std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  if (std::getenv("MORA_TEST_BAIL")) std::_Exit(1);
  return false;
}

inline int finish() { return failures() == 0 ? 0 : 1; }

}  // namespace mora::test

#define CHECK(condition) ::mora::test::check((condition), #condition, __FILE__, __LINE__)
