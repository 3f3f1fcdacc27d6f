// The addon's entry: classes, functions and clean-up. lib/native.ts describes this surface.
#include <napi.h>

#include <cmath>
#include <cstring>

#include "addon/arguments.h"
#include "addon/decompositions.h"
#include "addon/environment.h"
#include "addon/objects.h"
#include "core/cuda_library.h"
#include "cpu/matmul.h"

namespace mora::addon {
namespace {

Napi::Value openDevice(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string kind = info[0].ToString();
    const int32_t index = smallInteger(info[1], "index"), threads = smallInteger(info[2], "threads");
    return DeviceObject::create(info.Env(), Device::open(kind, index, threads));
  });
}

Napi::Value whyUnavailable(const Napi::CallbackInfo& info) {
  char why[4096] = "";
  if (findBackend(info[0].ToString().Utf8Value().c_str(), why, sizeof why)) return info.Env().Null();
  return Napi::String::New(info.Env(), why);
}

Napi::Value deviceCount(const Napi::CallbackInfo& info) {
  char why[4096] = "";
  const Backend* const backend = findBackend(info[0].ToString().Utf8Value().c_str(), why, sizeof why);
  return Napi::Number::New(info.Env(), backend ? backend->deviceCount() : 0);
}

void shutdown(const Napi::CallbackInfo&) { Device::shutdownAll(); }

Napi::Value libraries(const Napi::CallbackInfo& info) {
  Napi::Array list = Napi::Array::New(info.Env());
  for (const auto& [name, version] : cpu::libraries()) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("name", name);
    entry.Set("version", version);
    list.Set(list.Length(), entry);
  }
  return list;
}

Napi::Value openFile(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return FileObject::create(info.Env(), info[0].ToString()); });
}

/// Throws unless an argument is a function.
Napi::Function functionOf(const Napi::Value& value, const char* what) {
  if (value.IsFunction()) return value.As<Napi::Function>();
  throw toJavaScript(value.Env(), "invalid-argument", std::string("Expected a function for ") + what + ".");
}

/// Calls a function, and records the operations that it enqueues.
Napi::Value record(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  const Napi::Function body = functionOf(info[0], "body");
  if (environment.recording)
    throw toJavaScript(info.Env(), "invalid-argument", "record: operations are being recorded already.");
  Recording recording;
  {
    struct Recorder {
      Environment& environment;
      ~Recorder() { environment.recording = nullptr; }
    } const recorder{environment};
    environment.recording = &recording;
    body.Call({});
  }
  return RecordingObject::create(info.Env(), std::move(recording));
}

void setErrorClass(const Napi::CallbackInfo& info) {
  Environment::of(info.Env()).errorClass = Napi::Persistent(functionOf(info[0], "the class of errors"));
}

void setCudaLibraryOf(const Napi::CallbackInfo& info) { setCudaLibrary(info[0].ToString(), info[1].ToString()); }

Tensor emptyOf(const Napi::CallbackInfo& info) {
  return Tensor::empty(DeviceObject::unwrap(info[0]), dtypeFromName(info.Env(), info[1]), integers(info[2], "shape"));
}

Napi::Value empty(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return TensorObject::create(info.Env(), emptyOf(info)); });
}

Napi::Value fromArray(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!info[3].IsTypedArray()) throw Error("invalid-argument", "fromArray: expected a typed array for values.");
    const Napi::TypedArray values = info[3].As<Napi::TypedArray>();
    Tensor tensor = emptyOf(info);
    const auto [data, bytes] = bytesOf(values);
    if (bytes != tensor.bytes())
      throw Error("invalid-argument", "fromArray: expected " + std::to_string(tensor.bytes()) + " bytes for " +
                                          tensor.describe() + " but received " + std::to_string(bytes) + ".");
    const std::shared_ptr<std::byte[]> kept(new std::byte[bytes]);
    if (bytes > 0) std::memcpy(kept.get(), data, bytes);
    tensor.device().copyFromHost(tensor.desc().data, bytes, [kept](std::byte* to, size_t offset, size_t count) {
      std::memcpy(to, kept.get() + offset, count);
    });
    return TensorObject::create(info.Env(), std::move(tensor));
  });
}

Napi::Value fromFile(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::shared_ptr<InputFile> file = FileObject::unwrap(info[3]);
    Tensor tensor = emptyOf(info);
    const auto start = static_cast<uint64_t>(wholeNumber(info[4], "offset"));
    file->require(start, tensor.bytes());
    tensor.device().copyFromHost(tensor.desc().data, tensor.bytes(), [=](std::byte* to, size_t offset, size_t count) {
      file->read(start + offset, to, count);
    });
    return TensorObject::create(info.Env(), std::move(tensor));
  });
}

Napi::Value foldedSide(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t side = operations::foldedSide(Argument<BlockPlan>::from(info[0]), dtypeFromName(info.Env(), info[1]),
                                                DeviceObject::unwrap(info[2]));
    return Napi::Number::New(info.Env(), static_cast<double>(side));
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto environment = std::make_unique<Environment>();
  environment->completions = std::make_shared<Completions>(env);
  env.AddCleanupHook([completions = environment->completions] { completions->close(); });
  Environment& kept = *environment;
  env.SetInstanceData(environment.release());
  kept.deviceClass = Napi::Persistent(DeviceObject::define(env));
  kept.tensorClass = Napi::Persistent(TensorObject::define(env));
  kept.fileClass = Napi::Persistent(FileObject::define(env));
  kept.recordingClass = Napi::Persistent(RecordingObject::define(env));

  exports.Set("version", MORA_VERSION);
  const auto function = [&](const char* name, auto body) { exports.Set(name, Napi::Function::New(env, body, name)); };
  function("openDevice", openDevice);
  function("whyUnavailable", whyUnavailable);
  function("deviceCount", deviceCount);
  function("libraries", libraries);
  function("shutdown", shutdown);
  function("openFile", openFile);
  function("setErrorClass", setErrorClass);
  function("setCudaLibrary", setCudaLibraryOf);
  function("empty", empty);
  function("fromArray", fromArray);
  function("fromFile", fromFile);
  function("foldedSide", foldedSide);
  function("record", record);
  function("svd", svd);
  function("orthonormalColumns", orthonormalColumns);

#define MORA_EXPOSE(name) function(#name, Exposed<&operations::name>::call)
  MORA_EXPOSE(fill);
  MORA_EXPOSE(copy);
  MORA_EXPOSE(add);
  MORA_EXPOSE(multiply);
  MORA_EXPOSE(dequantise);
  MORA_EXPOSE(matmul);
  MORA_EXPOSE(matmulInt8);
  MORA_EXPOSE(addBias);
  MORA_EXPOSE(columnSums);
  MORA_EXPOSE(embedding);
  MORA_EXPOSE(embeddingBackward);
  MORA_EXPOSE(gatherRows);
  MORA_EXPOSE(scatterRows);
  MORA_EXPOSE(gatherColumns);
  MORA_EXPOSE(rmsNorm);
  MORA_EXPOSE(rmsNormApply);
  MORA_EXPOSE(rmsNormBackward);
  MORA_EXPOSE(layerNorm);
  MORA_EXPOSE(layerNormApply);
  MORA_EXPOSE(layerNormBackward);
  MORA_EXPOSE(rope);
  MORA_EXPOSE(activation);
  MORA_EXPOSE(activationBackward);
  MORA_EXPOSE(dropout);
  MORA_EXPOSE(attention);
  MORA_EXPOSE(attentionBackward);
  MORA_EXPOSE(crossEntropy);
  MORA_EXPOSE(capLogits);
  MORA_EXPOSE(sum);
  MORA_EXPOSE(argmax);
  MORA_EXPOSE(sample);
  MORA_EXPOSE(globalNorm);
  MORA_EXPOSE(clipScale);
  MORA_EXPOSE(adamw);
  MORA_EXPOSE(countNonFinite);
  MORA_EXPOSE(largestDifference);
  MORA_EXPOSE(groupSum);
  MORA_EXPOSE(groupSpread);
  MORA_EXPOSE(foldBlocks);
  MORA_EXPOSE(unfoldBlocks);
  MORA_EXPOSE(blocksForward);
  MORA_EXPOSE(blocksBackwardInput);
  MORA_EXPOSE(blocksBackwardWeight);
  MORA_EXPOSE(mergeGroups);
  MORA_EXPOSE(mergeBlocks);
  MORA_EXPOSE(mergeFactors);
#undef MORA_EXPOSE
  return exports;
}

}  // namespace

NODE_API_MODULE(mora, initialise)

}  // namespace mora::addon
