// The addon's entry: classes, functions and clean-up. lib/native/addon.ts describes this surface.
#include <napi.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "addon/arguments.h"
#include "addon/decompositions.h"
#include "addon/environment.h"
#include "addon/objects.h"
#include "addon/quantise.h"
#include "addon/random.h"
#include "addon/ranks.h"
#include "core/libraries/cuda_library.h"
#include "core/shared_memory.h"
#include "cpu/products/matmul.h"

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
  Absence absence;
  if (findBackend(info[0].ToString(), absence)) return info.Env().Null();
  Napi::Object why = Napi::Object::New(info.Env());
  why.Set("problem", absence.problem);
  why.Set("remedy", absence.remedy.empty() ? info.Env().Null() : Napi::String::New(info.Env(), absence.remedy));
  return why;
}

Napi::Value deviceCount(const Napi::CallbackInfo& info) {
  Absence absence;
  const Backend* const backend = findBackend(info[0].ToString(), absence);
  return Napi::Number::New(info.Env(), backend ? backend->deviceCount() : 0);
}

void shutdown(const Napi::CallbackInfo& info) {
  endRanks(info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : 0);
  Device::shutdownAll();
}

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

/// Returns the argument as a function, or throws if it is not one.
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

void setCudaLibraryOf(const Napi::CallbackInfo& info) {
  setCudaLibrary(info[0].ToString(), {info[1].ToString(), info[2].ToString()});
}

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

Napi::Value createSharedMemoryOf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), createSharedMemory()); });
}

Napi::Value mapToWriteOf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto offset = static_cast<uint64_t>(wholeNumber(info[2], "offset"));
    const auto bytes = static_cast<uint64_t>(wholeNumber(info[3], "bytes"));
    return TensorObject::create(
        info.Env(), mapToWrite(DeviceObject::unwrap(info[0]), smallInteger(info[1], "descriptor"), offset, bytes));
  });
}

Napi::Value mapToReadOf(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto bytes = static_cast<uint64_t>(wholeNumber(info[2], "bytes"));
    const auto readers = static_cast<uint64_t>(wholeNumber(info[3], "readers"));
    return TensorObject::create(
        info.Env(), mapToRead(DeviceObject::unwrap(info[0]), smallInteger(info[1], "descriptor"), bytes, readers));
  });
}

/// Reads rows of `rowBytes` bytes in another order than the file's.
void readInOrder(const InputFile& file, uint64_t start, const std::vector<int32_t>& order, size_t rowBytes,
                 std::byte* to, size_t offset, size_t count) {
  while (count > 0) {
    const size_t row = offset / rowBytes, column = offset % rowBytes, part = std::min(count, rowBytes - column);
    file.read(start + static_cast<uint64_t>(order[row]) * rowBytes + column, to, part);
    offset += part, to += part, count -= part;
  }
}

/// Reads the order of `rows` rows from an Int32Array.
std::vector<int32_t> orderFrom(const Napi::Value& value, int64_t rows) {
  const bool isOrder = value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_int32_array;
  if (!isOrder) throw Error("invalid-argument", "readRows: expected null or an Int32Array for order.");
  const auto [data, bytes] = bytesOf(value.As<Napi::TypedArray>());
  std::vector<int32_t> order(bytes / sizeof(int32_t));
  if (bytes > 0) std::memcpy(order.data(), data, bytes);
  const auto isRow = [rows](int32_t row) { return row >= 0 && row < rows; };
  if (static_cast<int64_t>(order.size()) != rows || !std::all_of(order.begin(), order.end(), isRow))
    throw Error("invalid-argument", "readRows: expected an order of " + std::to_string(rows) + " rows.");
  return order;
}

void readRows(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const auto start = static_cast<uint64_t>(wholeNumber(info[2], "offset"));
    const std::shared_ptr<InputFile> file = FileObject::unwrap(info[1]);
    const Tensor target = TensorObject::unwrap(info[0]);
    if (target.desc().rank != 2 || !target.dense())
      throw Error("invalid-argument", "readRows: expected a dense matrix but received " + target.describe() + ".");
    std::vector<int32_t> order;
    if (!info[3].IsNull()) order = orderFrom(info[3], target.size(0));
    file->require(start, target.bytes());
    const size_t rowBytes = target.bytes() / static_cast<size_t>(std::max<int64_t>(1, target.size(0)));
    target.device().copyFromHost(target.desc().data, target.bytes(),
                                 [=, order = std::move(order)](std::byte* to, size_t offset, size_t count) {
                                   if (order.empty())
                                     file->read(start + offset, to, count);
                                   else
                                     readInOrder(*file, start, order, rowBytes, to, offset, count);
                                 });
  });
}

Napi::Value foldedSide(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const int64_t side = operations::foldedSide(argumentFrom<SectionPlan>(info[0], "plan"),
                                                dtypeFromName(info.Env(), info[1]), DeviceObject::unwrap(info[2]));
    return Napi::Number::New(info.Env(), static_cast<double>(side));
  });
}

Napi::Value supports(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Device& device = DeviceObject::unwrap(info[0]);
    if (!info[2].IsArray()) throw Error("invalid-argument", "supports: expected an array of dtypes.");
    const Napi::Array names = info[2].As<Napi::Array>();
    std::vector<DType> dtypes(lengthOf(names, 64, "dtypes"));
    for (uint32_t i = 0; i < dtypes.size(); ++i) dtypes[i] = dtypeFromName(info.Env(), names.Get(i));
    return Napi::Boolean::New(info.Env(), operations::supports(device, info[1].ToString().Utf8Value(), dtypes));
  });
}

/// The table of operations for JavaScript: { matmul: { named: true, parameters: [{ kind: 'In', name: 'a' }, ...] }, ...
/// }.
Napi::Object describeOperations(Napi::Env env) {
  Napi::Object all = Napi::Object::New(env);
  for (const OperationEntry& entry : kOperations) {
    const std::vector<Parameter> parameters = parametersOf(entry.parameters);
    Napi::Array list = Napi::Array::New(env);
    for (const Parameter& parameter : parameters) {
      Napi::Object one = Napi::Object::New(env);
      one.Set("kind", parameter.kind);
      one.Set("name", parameter.name);
      list.Set(list.Length(), one);
    }
    Napi::Object operation = Napi::Object::New(env);
    operation.Set("named", takesFields(parameters));
    operation.Set("parameters", list);
    all.Set(entry.name, operation);
  }
  return all;
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
  kept.ranksClass = Napi::Persistent(RanksObject::define(env));

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
  function("createSharedMemory", createSharedMemoryOf);
  function("mapToWrite", mapToWriteOf);
  function("mapToRead", mapToReadOf);
  function("readRows", readRows);
  function("foldedSide", foldedSide);
  function("supports", supports);
  function("record", record);
  function("svd", svd);
  function("orthonormalColumns", orthonormalColumns);
  function("quantise", quantise);
  function("quantiseNf4", quantiseNf4);
  function("drawUniform", drawUniform);
  function("connectMpi", connectMpi);
  function("mpiVersion", mpiVersion);
  function("ncclVersion", ncclVersion);
  function("glooVersion", glooVersion);
  function("openGloo", openGloo);
  function("connectGloo", connectGloo);

#define MORA_OPERATION(name, ...) function(#name, Exposed<&operations::name, Operation::name>::call);
#include "core/operations.def"
  exports.Set("operations", describeOperations(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(mora, initialise)

}  // namespace mora::addon
