#include "addon/objects.h"

#include <algorithm>
#include <cstring>

#include "core/gpu.h"
#include "core/system/limits.h"
#include "operations/operations.h"
#include "quantise/block_scales.h"

namespace mora::addon {
namespace {

template <typename Wrapper>
Wrapper* unwrapArgument(const Napi::Value& value) {
  if (value.IsObject()) return Wrapper::Unwrap(value.As<Napi::Object>());
  throw toJavaScript(value.Env(), "invalid-argument",
                     std::string("Expected ") + Wrapper::kWhat + " but received something else.");
}

template <typename Numbers>
Napi::Array toArray(Napi::Env env, const Numbers* numbers, int32_t count) {
  Napi::Array array = Napi::Array::New(env, static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i)
    array.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(numbers[i])));
  return array;
}

}  // namespace

DType dtypeFromName(Napi::Env env, const Napi::Value& name) {
  const std::string wanted = name.ToString().Utf8Value();
  for (int32_t i = 0; i < 64; ++i) {
    const char* known = traitsOf(static_cast<DType>(i)).name;
    if (known && wanted == known) return static_cast<DType>(i);
  }
  throw toJavaScript(env, "invalid-argument", "Expected a dtype but received \"" + wanted + "\".");
}

int64_t integer(Napi::Env env, double number, const char* what) {
  if (!(number > -9e15 && number < 9e15) || static_cast<double>(static_cast<int64_t>(number)) != number)
    throw toJavaScript(env, "invalid-argument", std::string("Expected an integer for ") + what + ".");
  return static_cast<int64_t>(number);
}

int64_t integer(const Napi::Value& value, const char* what) {
  return integer(value.Env(), value.ToNumber().DoubleValue(), what);
}

int32_t smallInteger(const Napi::Value& value, const char* what) {
  const int64_t number = integer(value, what);
  if (number == static_cast<int32_t>(number)) return static_cast<int32_t>(number);
  throw toJavaScript(
      value.Env(), "invalid-argument",
      std::string("Expected an integer of 32 bits for ") + what + " but received " + std::to_string(number) + ".");
}

int64_t wholeNumber(const Napi::Value& value, const char* what) {
  const int64_t number = integer(value, what);
  if (number < 0)
    throw toJavaScript(
        value.Env(), "invalid-argument",
        std::string("Expected an integer of at least 0 for ") + what + " but received " + std::to_string(number) + ".");
  return number;
}

uint32_t lengthOf(const Napi::Array& array, uint32_t most, const char* what) {
  const uint32_t length = array.Length();
  if (length > most)
    throw toJavaScript(array.Env(), "invalid-argument",
                       "Expected at most " + std::to_string(most) + " elements for " + what + " but received " +
                           std::to_string(length) + ".");
  return length;
}

std::vector<int64_t> integers(const Napi::Value& value, const char* what) {
  if (!value.IsArray())
    throw toJavaScript(value.Env(), "invalid-argument", std::string("Expected an array of integers for ") + what + ".");
  const Napi::Array array = value.As<Napi::Array>();
  // The length is read once: converting an element to a number runs JavaScript, which may make the array longer.
  std::vector<int64_t> numbers(lengthOf(array, 64, what));
  for (uint32_t i = 0; i < numbers.size(); ++i) numbers[i] = integer(array.Get(i), what);
  return numbers;
}

std::pair<std::byte*, size_t> bytesOf(const Napi::TypedArray& array) {
  Napi::ArrayBuffer buffer = array.ArrayBuffer();
  const size_t offset = array.ByteOffset(), bytes = array.ByteLength();
  if (offset + bytes > buffer.ByteLength())
    throw Error("invalid-argument", "Expected a typed array inside of its buffer, which holds " +
                                        std::to_string(buffer.ByteLength()) + " bytes now, but it ends at " +
                                        std::to_string(offset + bytes) + ".");
  return {static_cast<std::byte*>(buffer.Data()) + offset, bytes};
}

std::span<float> floatsOf(const Napi::Value& value, const char* what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throw Error("invalid-argument", std::string("Expected a Float32Array for ") + what + ".");
  const auto [data, bytes] = bytesOf(value.As<Napi::TypedArray>());
  return {reinterpret_cast<float*>(data), bytes / sizeof(float)};
}

// --- device -----------------------------------------------------------------------------------------------------

Napi::Function DeviceObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeDevice",
      {InstanceAccessor<&DeviceObject::kind>("kind"), InstanceAccessor<&DeviceObject::index>("index"),
       InstanceMethod<&DeviceObject::facts>("facts"), InstanceMethod<&DeviceObject::memory>("memory"),
       InstanceMethod<&DeviceObject::queueDepth>("queueDepth"),
       InstanceMethod<&DeviceObject::synchronize>("synchronize"),
       InstanceMethod<&DeviceObject::profileReport>("profileReport"),
       InstanceMethod<&DeviceObject::setMemoryLimit>("setMemoryLimit"),
       InstanceMethod<&DeviceObject::resetPeak>("resetPeak"), InstanceMethod<&DeviceObject::trim>("trim"),
       InstanceMethod<&DeviceObject::setThreads>("setThreads"),
       InstanceMethod<&DeviceObject::setAllowTf32>("setAllowTf32"),
       InstanceMethod<&DeviceObject::setRowsAlone>("setRowsAlone"), InstanceMethod<&DeviceObject::profile>("profile")});
}

DeviceObject::DeviceObject(const Napi::CallbackInfo& info)
    : TaggedObject(info), device_(&fromExternal<Device>(info, "openDevice")) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Object DeviceObject::create(Napi::Env env, Device& device) {
  return Environment::of(env).deviceClass.New({Napi::External<Device>::New(env, &device)});
}

Device& DeviceObject::unwrap(const Napi::Value& value) { return *unwrapArgument<DeviceObject>(value)->device_; }

Napi::Value DeviceObject::facts(Info info) {
  const DeviceFacts facts = guarded(info.Env(), [&] { return device_->facts(); });
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("name", facts.name);
  result.Set("id", guarded(info.Env(), [&] { return idOf(*device_); }));
  result.Set("totalMemory", static_cast<double>(facts.totalMemory));
  result.Set("threads", facts.threads);
  result.Set("fastBfloat16", facts.fastBfloat16 != 0);
  result.Set("int8Products", facts.int8Products != 0);
  result.Set("detail", facts.detail);
  return result;
}

Napi::Value DeviceObject::memory(Info info) {
  MemoryFigures figures{};
  device_->backend().memoryFigures(device_->stream(), &figures);
  Napi::Object result = Napi::Object::New(info.Env());
  const uint64_t mapped = device_->mappedBytes();
  result.Set("inUse", static_cast<double>(figures.inUse + mapped));
  result.Set("peak", static_cast<double>(figures.peak + mapped));
  result.Set("cached", static_cast<double>(figures.cached));
  result.Set("limit", static_cast<double>(figures.limit));
  result.Set("working", static_cast<double>(figures.working));
  return result;
}

Napi::Value DeviceObject::queueDepth(Info info) {
  return Napi::Number::New(info.Env(), static_cast<double>(device_->backend().queueDepth(device_->stream())));
}

Napi::Value DeviceObject::synchronize(Info info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env())
        .completions->whenDone(info.Env(), *device_, [](Napi::Env env, const Napi::Value&) { return env.Undefined(); });
  });
}

Napi::Value DeviceObject::profileReport(Info info) {
  std::string json;
  guarded(info.Env(), [&] {
    // Operations that end between the two calls make the report longer than the first one said.
    Status status = Status::invalidArgument;
    for (size_t needed = 0; status == Status::invalidArgument; json.resize(needed))
      status = device_->backend().profileReport(device_->stream(), json.data(), json.size(), &needed);
    device_->check(status, "profileReport");
  });
  const Napi::Object parser = info.Env().Global().Get("JSON").As<Napi::Object>();
  return parser.Get("parse").As<Napi::Function>().Call(parser, {Napi::String::New(info.Env(), json.c_str())});
}

void DeviceObject::setMemoryLimit(Info info) {
  device_->backend().setMemoryLimit(device_->stream(), static_cast<uint64_t>(wholeNumber(info[0], "bytes")));
}

void DeviceObject::resetPeak(Info) { device_->backend().resetPeak(device_->stream()); }

void DeviceObject::trim(Info) { device_->backend().trim(device_->stream()); }

void DeviceObject::setThreads(Info info) {
  guarded(info.Env(), [&] { device_->setThreads(smallInteger(info[0], "threads")); });
}

void DeviceObject::setAllowTf32(Info info) {
  guarded(info.Env(), [&] { device_->setAllowTf32(info[0].ToBoolean()); });
}

void DeviceObject::setRowsAlone(Info info) {
  guarded(info.Env(), [&] { device_->setRowsAlone(info[0].ToBoolean()); });
}

void DeviceObject::profile(Info info) { device_->backend().profile(device_->stream(), info[0].ToBoolean()); }

// --- tensor -----------------------------------------------------------------------------------------------------

Napi::Function TensorObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeTensor",
      {InstanceAccessor<&TensorObject::device>("device"), InstanceAccessor<&TensorObject::dtype>("dtype"),
       InstanceAccessor<&TensorObject::shape>("shape"), InstanceAccessor<&TensorObject::strides>("strides"),
       InstanceAccessor<&TensorObject::disposed>("disposed"), InstanceMethod<&TensorObject::view>("view"),
       InstanceMethod<&TensorObject::as>("as"), InstanceMethod<&TensorObject::read>("read"),
       InstanceMethod<&TensorObject::readAtOnce>("readAtOnce"), InstanceMethod<&TensorObject::dispose>("dispose")});
}

TensorObject::TensorObject(const Napi::CallbackInfo& info)
    : TaggedObject(info), tensor_(std::move(fromExternal<Tensor>(info, "empty, fromArray and fromFile"))) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
  if (tensor_.storage().use_count() == 1) ownBytes_ = static_cast<int64_t>(tensor_.storage()->bytes);
  Environment::of(info.Env()).memory.taken(info.Env(), ownBytes_);
}

TensorObject::~TensorObject() {
  if (tensor_) Environment::of(Env()).memory.found(Env(), ownBytes_);
}

Napi::Object TensorObject::create(Napi::Env env, Tensor tensor) {
  return Environment::of(env).tensorClass.New({Napi::External<Tensor>::New(env, &tensor)});
}

Tensor TensorObject::unwrap(const Napi::Value& value) {
  if (value.IsNull() || value.IsUndefined()) return {};
  return unwrapArgument<TensorObject>(value)->alive(value.Env());
}

const Tensor& TensorObject::alive(Napi::Env env) const {
  if (!tensor_) throw toJavaScript(env, "disposed", "This tensor was disposed of and cannot be used any more.");
  return tensor_;
}

Napi::Value TensorObject::device(Info info) { return DeviceObject::create(info.Env(), alive(info.Env()).device()); }

Napi::Value TensorObject::dtype(Info info) { return Napi::String::New(info.Env(), traitsOf(tensor_.dtype()).name); }

Napi::Value TensorObject::shape(Info info) { return toArray(info.Env(), tensor_.desc().shape, tensor_.rank()); }

Napi::Value TensorObject::strides(Info info) { return toArray(info.Env(), tensor_.desc().strides, tensor_.rank()); }

Napi::Value TensorObject::view(Info info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const std::vector<int64_t> shape = integers(info[0], "shape"), strides = integers(info[1], "strides");
    const int64_t offset = integer(info[2], "offset");
    return create(env, alive(env).view(shape, strides, offset));
  });
}

Napi::Value TensorObject::as(Info info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const DType dtype = dtypeFromName(env, info[0]);
    const std::vector<int64_t> shape = integers(info[1], "shape");
    const int64_t offset = integer(info[2], "offset");
    return create(env, alive(env).as(dtype, shape, offset));
  });
}

Napi::Value TensorObject::read(Info info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    Tensor source = alive(env);
    const Napi::Value into = info[0].IsTypedArray() ? info[0] : Napi::Value();
    const size_t room = into.IsEmpty() ? source.bytes() : into.As<Napi::TypedArray>().ByteLength();
    if (room != source.bytes())
      throw Error("invalid-argument", "read: expected " + std::to_string(source.bytes()) + " bytes for " +
                                          source.describe() + " but received " + std::to_string(room) + ".");
    if (!source.dense()) {
      const TensorDesc& desc = source.desc();
      const Tensor dense = Tensor::empty(source.device(), source.dtype(), {desc.shape, desc.shape + desc.rank});
      operations::copy(source, dense, 1);
      source = dense;
    }
    // Copies into memory of our own: the environment, and its ArrayBuffers, may end before the copy is done.
    const std::shared_ptr<std::byte[]> bytes(new std::byte[source.bytes()]);
    Device& device = source.device();
    device.copyToHost(bytes.get(), source.desc().data, source.bytes(), bytes);
    const auto result = [source, bytes](Napi::Env now, const Napi::Value& target) -> Napi::Value {
      if (!target.IsEmpty()) {
        return guarded(now, [&] {
          const auto [data, room] = bytesOf(target.As<Napi::TypedArray>());
          if (room != source.bytes())
            throw Error("invalid-argument", "read: the memory for " + source.describe() + " has " +
                                                std::to_string(room) + " bytes now, and had " +
                                                std::to_string(source.bytes()) + ".");
          if (room > 0) std::memcpy(data, bytes.get(), room);
          return target;
        });
      }
      const size_t size = source.bytes();
      Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(now, size);
      if (size > 0) std::memcpy(buffer.Data(), bytes.get(), size);
      switch (source.dtype()) {
        case DType::f32:
          return Napi::Float32Array::New(now, size / 4, buffer, 0);
        case DType::bf16:
        case DType::f16:
          return Napi::Uint16Array::New(now, size / 2, buffer, 0);
        case DType::i32:
          return Napi::Int32Array::New(now, size / 4, buffer, 0);
        case DType::i64:
          return Napi::BigInt64Array::New(now, size / 8, buffer, 0);
        default:
          return Napi::Uint8Array::New(now, size, buffer, 0);
      }
    };
    return Environment::of(env).completions->whenDone(env, device, result, into);
  });
}

Napi::Value TensorObject::readAtOnce(Info info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const Tensor& source = alive(env);
    // Memory of another device is only reachable through its stream.
    if (source.device().kind() != "cpu" || source.dtype() != DType::f32 || !source.dense()) return env.Null();
    Napi::Float32Array values = Napi::Float32Array::New(env, source.bytes() / sizeof(float));
    if (source.bytes() > 0) std::memcpy(values.Data(), source.desc().data, source.bytes());
    return values;
  });
}

void TensorObject::dispose(Info info) {
  if (!tensor_) return;
  tensor_.reset();
  Environment::of(info.Env()).memory.disposed(ownBytes_);
}

// --- file -------------------------------------------------------------------------------------------------------

Napi::Function FileObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeFile",
      {InstanceAccessor<&FileObject::size>("size"), InstanceMethod<&FileObject::bytes>("bytes"),
       InstanceMethod<&FileObject::firstNotFinite>("firstNotFinite"), InstanceMethod<&FileObject::close>("close")});
}

FileObject::FileObject(const Napi::CallbackInfo& info)
    : TaggedObject(info), file_(fromExternal<std::shared_ptr<InputFile>>(info, "openFile")) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Object FileObject::create(Napi::Env env, const std::string& path) {
  std::shared_ptr<InputFile> file = InputFile::open(path);
  return Environment::of(env).fileClass.New({Napi::External<std::shared_ptr<InputFile>>::New(env, &file)});
}

std::shared_ptr<InputFile> FileObject::unwrap(const Napi::Value& value) {
  const FileObject* object = unwrapArgument<FileObject>(value);
  object->open(value.Env());
  return object->file_;
}

const InputFile& FileObject::open(Napi::Env env) const {
  if (!file_) throw toJavaScript(env, "disposed", "This file was closed and cannot be read any more.");
  return *file_;
}

Napi::Value FileObject::size(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(open(info.Env()).size()));
}

Napi::Value FileObject::bytes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto offset = static_cast<uint64_t>(wholeNumber(info[0], "offset"));
    const auto length = static_cast<uint64_t>(wholeNumber(info[1], "length"));
    open(env).require(offset, length);  // before memory is allocated
    Napi::Uint8Array copy = Napi::Uint8Array::New(env, length);
    open(env).read(offset, reinterpret_cast<std::byte*>(copy.Data()), length);
    return copy;
  });
}

Napi::Value FileObject::firstNotFinite(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    quantise::BlocksInFile blocks{static_cast<uint64_t>(wholeNumber(info[0], "offset")),
                                  0,
                                  static_cast<uint64_t>(wholeNumber(info[2], "blockBytes")),
                                  {}};
    const auto bytes = static_cast<uint64_t>(wholeNumber(info[1], "bytes"));
    for (const int64_t place : integers(info[3], "places")) blocks.places.push_back(static_cast<uint64_t>(place));
    const auto fits = [&](uint64_t place) { return place < blocks.bytesOfOne && blocks.bytesOfOne - place >= 2; };
    if (blocks.bytesOfOne == 0 || bytes % blocks.bytesOfOne != 0 ||
        !std::all_of(blocks.places.begin(), blocks.places.end(), fits))
      throw Error("invalid-argument", "firstNotFinite: expected whole blocks with their scales.");
    open(env).require(blocks.offset, bytes);
    blocks.count = bytes / blocks.bytesOfOne;
    const uint64_t first = quantise::firstNotFinite(open(env), blocks, availableProcessors());
    return Napi::Number::New(env, first < blocks.count ? static_cast<double>(first) : -1);
  });
}

// --- recording --------------------------------------------------------------------------------------------------

Napi::Function RecordingObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeRecording",
      {InstanceMethod<&RecordingObject::replay>("replay"), InstanceMethod<&RecordingObject::dispose>("dispose")});
}

RecordingObject::RecordingObject(const Napi::CallbackInfo& info)
    : TaggedObject(info), recording_(std::move(fromExternal<Recording>(info, "record"))) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Object RecordingObject::create(Napi::Env env, Recording recording) {
  return Environment::of(env).recordingClass.New({Napi::External<Recording>::New(env, &recording)});
}

void RecordingObject::replay(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    for (const auto& operation : recording_) operation();
  });
}

}  // namespace mora::addon
