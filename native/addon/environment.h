// What the addon keeps for each JavaScript environment (the main thread and every worker thread have their own).
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
  /// Called once, on any thread, with what went wrong.
  using Done = std::function<void(const std::optional<Error>&)>;

  /// A promise that settles once `start`, which gets `done` and returns at once, has had that called: rejected with the
  /// error, else resolved with `result(env, kept)`. The collector leaves `kept`, which may be empty, alone until then.
  Napi::Promise whenDone(Napi::Env env, const std::function<void(Done done)>& start, Result result,
                         const Napi::Value& kept = {});
  /// The same, once everything enqueued on the device is done; rejected with the stream's error.
  Napi::Promise whenDone(Napi::Env env, Device& device, Result result, const Napi::Value& kept = {});
  /// No completion is delivered from here on.
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

/// What the garbage collector knows of device memory, so that forgotten tensors are found in time: the most that was
/// held since it last found some. Memory that is disposed of and taken again, as in every training step, is no news to
/// it; it would collect several times a step.
class DeviceMemory {
 public:
  void taken(Napi::Env env, int64_t bytes);
  void disposed(int64_t bytes) { held_ -= bytes; }
  /// Disposed of by the collector.
  void found(Napi::Env env, int64_t bytes);

 private:
  void tell(Napi::Env env);

  int64_t held_ = 0, known_ = 0, told_ = 0;  // `told_` follows `known_` in large steps
};

/// Operations with their arguments, tensors among them, which live as long.
using Recording = std::vector<std::function<void()>>;

struct Environment {
  std::shared_ptr<Completions> completions;
  Napi::FunctionReference errorClass;  // called as new errorClass(code, message, { remedy })
  Napi::FunctionReference deviceClass, tensorClass, fileClass, recordingClass, ranksClass;
  DeviceMemory memory;
  Recording* recording = nullptr;  // what operations are added to as they are enqueued

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
};

/// Makes the JavaScript error of a core error; `remedy` is empty where nothing is known to help.
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
