// The addon's state in each JavaScript environment (the main thread and every worker thread have their own).
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "core/device.h"
#include "core/error.h"

namespace mora::addon {

/// Carries completions from other threads to the event loop, and outlives the environment if it must.
class Completions : public std::enable_shared_from_this<Completions> {
 public:
  explicit Completions(Napi::Env env);

  using Result = std::function<Napi::Value(Napi::Env, const Napi::Value& kept)>;
  /// Called once, on any thread, with the error if there was one.
  using Done = std::function<void(const std::optional<Error>&)>;

  /// Returns a promise and calls `start(done)`, which returns at once. When `done` is called, the promise is rejected
  /// with its error or else resolved with `result(env, kept)`. Until then `kept`, which may be empty, is not
  /// garbage-collected.
  Napi::Promise whenDone(Napi::Env env, const std::function<void(Done done)>& start, Result result,
                         const Napi::Value& kept = {});
  /// Settles once everything enqueued on the device is done; rejected with the stream's error.
  Napi::Promise whenDone(Napi::Env env, Device& device, Result result, const Napi::Value& kept = {});
  /// Stops delivering completions.
  void close();

 private:
  struct Pending;
  void deliver(Pending* pending);
  static void settle(Napi::Env env, Napi::Function, std::nullptr_t*, Pending* pending);

  using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, Pending, settle>;
  std::mutex mutex_;
  bool closed_ = false;
  size_t pending_ = 0;
  Function function_;
};

/// Tells the garbage collector of device memory, so that it finds forgotten tensors in time: it reports the largest
/// amount in use since the last tensor was collected. Reporting memory that is freed and allocated again, as in every
/// training step, would start several collections a step.
class DeviceMemory {
 public:
  void taken(Napi::Env env, int64_t bytes);
  void disposed(int64_t bytes) { held_ -= bytes; }
  /// Reports that the collector has freed a tensor.
  void found(Napi::Env env, int64_t bytes);

 private:
  void tell(Napi::Env env);

  int64_t held_ = 0, known_ = 0, told_ = 0;  // `told_` follows `known_` in large steps
};

/// Recorded operations with their arguments, whose tensors stay alive as long.
using Recording = std::vector<std::function<void()>>;

struct Environment {
  std::shared_ptr<Completions> completions;
  Napi::FunctionReference errorClass;  // called as new errorClass(code, message, { remedy })
  Napi::FunctionReference deviceClass, tensorClass, fileClass, recordingClass, ranksClass;
  DeviceMemory memory;
  Recording* recording = nullptr;  // if set, enqueued operations are added to it

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
};

/// Makes the JavaScript error of a core error; `remedy` is empty if none is known.
Napi::Error toJavaScript(Napi::Env env, const std::string& code, const std::string& message,
                         const std::string& remedy = "");

/// Runs `body` and turns core errors into JavaScript errors.
template <typename Body>
auto guarded(Napi::Env env, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    throw toJavaScript(env, error.code(), error.what(), error.remedy());
  } catch (const std::bad_alloc&) {
    throw toJavaScript(env, "out-of-memory", "The system has no memory left for what was asked for.");
  }
}

}  // namespace mora::addon
