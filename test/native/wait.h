// Waits for a backend's stream; include the stream's header first.
#pragma once
#include <future>

#include "check.h"
#include "core/backend.h"

namespace mora::test {

/// Waits for everything before it, and returns and clears the error.
inline StreamError wait(Stream& stream) {
  std::promise<StreamError> done;
  std::future<StreamError> result = done.get_future();
  const auto deliver = [](void* user, const StreamError* error) {
    static_cast<std::promise<StreamError>*>(user)->set_value(*error);
  };
  CHECK(stream.callback(deliver, &done) == Status::ok);
  return result.get();
}

}  // namespace mora::test
