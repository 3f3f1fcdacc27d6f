#include "addon/decompositions.h"

#include <cstring>
#include <optional>

#include "addon/environment.h"
#include "addon/objects.h"
#include "core/error.h"
#include "core/math/decompositions.h"

namespace mora::addon {
namespace {

HostMatrix matrixOf(const Napi::CallbackInfo& info, const char* operation) {
  const auto refuse = [&](const std::string& why) {
    throw Error("invalid-argument", std::string(operation) + ": " + why);
  };
  const int64_t rows = integer(info[1], "rows"), columns = integer(info[2], "columns");
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    refuse("expected a Float32Array for values.");
  const auto [data, bytes] = bytesOf(info[0].As<Napi::TypedArray>());
  const auto count = static_cast<int64_t>(bytes / sizeof(float));
  if (rows < 1 || columns < 1 || count % rows != 0 || count / rows != columns)
    refuse("expected rows times columns values for [" + std::to_string(rows) + ", " + std::to_string(columns) +
           "] but received " + std::to_string(count) + ".");
  const auto* const values = reinterpret_cast<const float*>(data);
  return {rows, columns, {values, values + count}};
}

Napi::Value toArray(Napi::Env env, const std::vector<double>& values) {
  Napi::Float64Array array = Napi::Float64Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(double));
  return array;
}

class SvdWorker : public Napi::AsyncWorker {
 public:
  SvdWorker(Napi::Env env, HostMatrix matrix, bool vectors)
      : AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), matrix_(std::move(matrix)), vectors_(vectors) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      result_ = mora::svd(matrix_, vectors_);
    } catch (const mora::Error& error) {
      failure_ = error;
    } catch (const std::bad_alloc&) {
      failure_ = mora::Error("out-of-memory", "The singular value decomposition does not fit in memory.");
    }
  }

  void OnOK() override {
    if (failure_) return deferred_.Reject(toJavaScript(Env(), failure_->code(), failure_->what()).Value());
    Napi::Object object = Napi::Object::New(Env());
    object.Set("s", toArray(Env(), result_.s));
    object.Set("u", vectors_ ? toArray(Env(), result_.u.values) : Env().Null());
    object.Set("v", vectors_ ? toArray(Env(), result_.v.values) : Env().Null());
    deferred_.Resolve(object);
  }

 private:
  Napi::Promise::Deferred deferred_;
  HostMatrix matrix_;
  bool vectors_;
  SingularValues result_;
  std::optional<mora::Error> failure_;
};

}  // namespace

Napi::Value svd(const Napi::CallbackInfo& info) {
  HostMatrix matrix = guarded(info.Env(), [&] { return matrixOf(info, "svd"); });
  auto* const worker = new SvdWorker(info.Env(), std::move(matrix), info[3].ToBoolean());  // deletes itself
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

Napi::Value orthonormalColumns(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return toArray(info.Env(), mora::orthonormalColumns(matrixOf(info, "orthonormalColumns")).values);
  });
}

}  // namespace mora::addon
