#include "addon/environment.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace mora::addon {
namespace {

/// The error code of a failure on the stream.
const char* codeOf(Status status) {
  switch (status) {
    case Status::outOfMemory:
      return "out-of-memory";
    case Status::unsupported:
      return "unsupported";
    default:
      return "operation-failed";
  }
}

std::optional<Error> errorOf(const StreamError& error) {
  if (error.status == Status::ok) return std::nullopt;
  return Error(codeOf(error.status), std::string(error.operation) + " failed: " + error.message + ".");
}

}  // namespace

struct Completions::Pending {
  Napi::Promise::Deferred deferred;
  Result result;
  std::shared_ptr<Completions> owner;
  napi_ref kept;  // not an object that frees it: another thread would do so if the environment ends first
  std::optional<Error> error;
};

Completions::Completions(Napi::Env env) : function_(Function::New(env, "mora completions", 0, 1)) {
  function_.Unref(env);
}

Napi::Promise Completions::whenDone(Napi::Env env, Device& device, Result result, const Napi::Value& kept) {
  const auto start = [&](Done done) {
    device.callback([done = std::move(done)](const StreamError& error) { done(errorOf(error)); });
  };
  return whenDone(env, start, std::move(result), kept);
}

Napi::Promise Completions::whenDone(Napi::Env env, const std::function<void(Done)>& start, Result result,
                                    const Napi::Value& kept) {
  auto* const pending =
      new Pending{Napi::Promise::Deferred::New(env), std::move(result), shared_from_this(), nullptr, std::nullopt};
  if (!kept.IsEmpty()) napi_create_reference(env, kept, 1, &pending->kept);
  const Napi::Promise promise = pending->deferred.Promise();
  if (pending_++ == 0) function_.Ref(env);  // an awaited promise keeps the process alive
  try {
    start([pending](const std::optional<Error>& error) {
      pending->error = error;
      pending->owner->deliver(pending);
    });
  } catch (...) {
    if (--pending_ == 0) function_.Unref(env);
    if (pending->kept) napi_delete_reference(env, pending->kept);
    delete pending;
    throw;
  }
  return promise;
}

void Completions::deliver(Pending* pending) {
  const std::shared_ptr<Completions> self = pending->owner;
  const std::lock_guard lock(mutex_);
  if (closed_ || function_.NonBlockingCall(pending) != napi_ok) delete pending;
}

void Completions::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

void Completions::settle(Napi::Env env, Napi::Function, std::nullptr_t*, Pending* raw) {
  const std::unique_ptr<Pending> pending(raw);
  if (static_cast<napi_env>(env) == nullptr) return;
  Completions& owner = *pending->owner;
  if (--owner.pending_ == 0) owner.function_.Unref(env);
  if (pending->error) {
    pending->deferred.Reject(toJavaScript(env, pending->error->code(), pending->error->what()).Value());
  } else {
    try {
      napi_value kept = nullptr;
      if (pending->kept) napi_get_reference_value(env, pending->kept, &kept);
      pending->deferred.Resolve(pending->result(env, {env, kept}));
    } catch (const Napi::Error& error) {
      pending->deferred.Reject(error.Value());
    }
  }
  if (pending->kept) napi_delete_reference(env, pending->kept);
}

Napi::Error toJavaScript(Napi::Env env, const std::string& code, const std::string& message,
                         const std::string& remedy) {
  Environment& environment = Environment::of(env);
  if (environment.errorClass.IsEmpty()) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, code));
    return error;
  }
  try {
    const Napi::Object fields = Napi::Object::New(env);
    if (!remedy.empty()) fields.Set("remedy", remedy);
    const Napi::Object value =
        environment.errorClass.New({Napi::String::New(env, code), Napi::String::New(env, message), fields});
    return Napi::Error(env, value);
  } catch (const Napi::Error& thrown) {
    return thrown;  // the error class may throw itself
  }
}

void DeviceMemory::taken(Napi::Env env, int64_t bytes) {
  held_ += bytes;
  known_ = std::max(known_, held_);
  tell(env);
}

void DeviceMemory::found(Napi::Env env, int64_t bytes) {
  held_ -= bytes;
  known_ -= bytes;
  tell(env);
}

void DeviceMemory::tell(Napi::Env env) {
  // Each step may start a collection, so steps are larger beside a large model.
  constexpr int64_t kLeast = int64_t{64} << 20, kMost = int64_t{512} << 20;
  if (std::abs(known_ - told_) < std::clamp(told_ / 4, kLeast, kMost)) return;
  Napi::MemoryManagement::AdjustExternalMemory(env, known_ - told_);
  told_ = known_;
}

}  // namespace mora::addon
