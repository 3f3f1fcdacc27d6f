// Runs a part of a test in its own process, for state that is set once per process.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

namespace mora::test {

template <typename Body>
void inChild(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(finish());
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

}  // namespace mora::test
