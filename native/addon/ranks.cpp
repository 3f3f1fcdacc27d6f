#include "addon/ranks.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <utility>

#include "core/gpu.h"
#include "ranks/gloo_library.h"
#include "ranks/mpi_library.h"
#include "ranks/nccl_library.h"

namespace mora::addon {
namespace {

/// The ranks of this process, of which there are one: MPI starts once.
struct OfProcess {
  std::mutex mutex;
  std::shared_ptr<ranks::Group> group;
  /// Between openGloo and connectGloo.
  std::shared_ptr<ranks::GlooRank> listening;
};

OfProcess& ofProcess() {
  static OfProcess instance;
  return instance;
}

std::vector<std::string> textsOf(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) throw Error("invalid-argument", std::string("Expected a list of texts for ") + what + ".");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<std::string> texts(lengthOf(array, 100, what));
  for (uint32_t i = 0; i < texts.size(); ++i) texts[i] = array.Get(i).ToString().Utf8Value();
  return texts;
}

Napi::Promise connect(Napi::Env env, ranks::Group::Start start, std::chrono::milliseconds limit) {
  OfProcess& process = ofProcess();
  const std::lock_guard lock(process.mutex);
  if (process.group) throw Error("ranks-twice", "The ranks of this process are connected already, which happens once.");
  const auto begin = [&](Completions::Done done) {
    process.group = ranks::Group::begin(std::move(start), limit, std::move(done));
  };
  const auto result = [](Napi::Env now, const Napi::Value&) {
    const std::lock_guard held(ofProcess().mutex);
    return RanksObject::create(now, ofProcess().group);
  };
  return Environment::of(env).completions->whenDone(env, begin, result);
}

/// Bytes that a collective works on while JavaScript may do what it likes with its own.
using Copy = std::shared_ptr<std::vector<std::byte>>;

Copy copyOf(const Napi::Value& value, const char* what) {
  if (!value.IsTypedArray()) throw Error("invalid-argument", std::string("Expected a typed array for ") + what + ".");
  const auto [data, count] = bytesOf(value.As<Napi::TypedArray>());
  return std::make_shared<std::vector<std::byte>>(data, data + count);
}

Napi::Uint8Array arrayOf(Napi::Env env, const std::vector<std::byte>& bytes) {
  Napi::Uint8Array array = Napi::Uint8Array::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(array.Data(), bytes.data(), bytes.size());
  return array;
}

/// A collective of the group's thread in the midst of what a stream does: it begins when the stream has come to it, and
/// what needs its result waits in the stream.
class InStream {
 public:
  /// @param target what it writes, in whose stream it is
  explicit InStream(Tensor target) : target_(std::move(target)) {}

  void begin() {
    const std::lock_guard lock(mutex_);
    hasBegun_ = true;
    changed_.notify_all();
  }

  /// On the group's thread, which must be heard of by other ranks meanwhile.
  void awaitBeginning(ranks::Engine& engine, const ranks::Group& group) {
    constexpr std::chrono::milliseconds kPause(50);
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kPause, [this] { return hasBegun_; })) {
      lock.unlock();
      if (group.givesUp()) throw ranks::GivenUp{};
      engine.tend();
      lock.lock();
    }
  }

  void end(const std::optional<Error>& failure) {
    const std::lock_guard lock(mutex_);
    hasEnded_ = true;
    failure_ = failure;
    if (!failure) target_.reset();
    changed_.notify_all();
  }

  /// On the stream's thread. Throws what went wrong.
  void awaitEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return hasEnded_; });
    if (failure_) throw Error(*failure_);
  }

  /// Null once there is nothing to wait for: whoever could wait must not hold on to memory for that.
  Tensor target() {
    const std::lock_guard lock(mutex_);
    return target_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool hasBegun_ = false, hasEnded_ = false;
  std::optional<Error> failure_;
  Tensor target_;
};

/// Does something on the thread of the stream that writes a tensor, in the stream's order: once, as a copy of one byte
/// is in one part.
void enqueue(const Tensor& target, std::function<void()> work) {
  target.device().copyFromHost(target.desc().data, 1,
                               [kept = target, work = std::move(work)](std::byte*, size_t, size_t) { work(); });
}

std::byte* memoryOf(const Tensor& tensor) { return static_cast<std::byte*>(tensor.desc().data); }

/// Begins when the tensor's stream has come to what is enqueued now.
std::shared_ptr<InStream> begunIn(const Tensor& tensor) {
  auto inStream = std::make_shared<InStream>(tensor);
  enqueue(tensor, [inStream] { inStream->begin(); });
  return inStream;
}

/// Adds up tensors of a CPU in place, as one message, once what was enqueued before is done.
ranks::Group::Task sumInMemory(const std::vector<Tensor>& tensors, const std::shared_ptr<ranks::Group>& group) {
  size_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.bytes();
  const auto isFilled = [](const Tensor& tensor) { return tensor.bytes() > 0; };
  const auto filled = std::find_if(tensors.begin(), tensors.end(), isFilled);
  const auto inStream = filled == tensors.end() ? nullptr : begunIn(*filled);
  const auto flat = std::make_shared<std::vector<std::byte>>();
  return [tensors, total, inStream, flat, group](ranks::Engine& engine) {
    if (inStream) inStream->awaitBeginning(engine, *group);
    flat->reserve(total);
    for (const Tensor& tensor : tensors) flat->insert(flat->end(), memoryOf(tensor), memoryOf(tensor) + tensor.bytes());
    engine.sum(reinterpret_cast<float*>(flat->data()), total / sizeof(float));
    auto sums = flat->cbegin();
    for (const Tensor& tensor : tensors) {
      std::copy_n(sums, tensor.bytes(), memoryOf(tensor));
      sums += static_cast<ptrdiff_t>(tensor.bytes());
    }
  };
}

void requireBytes(const Tensor& tensor, const char* what) {
  if (tensor && tensor.dtype() == DType::u8 && tensor.dense() && tensor.bytes() > 0) return;
  throw Error("invalid-argument", std::string("gatherInto: expected bytes (uint8) without gaps for ") + what + ".");
}

Napi::Value undefined(Napi::Env env, const Napi::Value&) { return env.Undefined(); }

}  // namespace

Napi::Value connectMpi(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::vector<std::string> libraries = textsOf(info[0], "libraries");
    const int64_t limit = wholeNumber(info[1], "limit");
    const auto start = [libraries](ranks::Terms terms) {
      return ranks::startMpi(ranks::openMpi(libraries), std::move(terms));
    };
    return connect(info.Env(), start, std::chrono::milliseconds(limit));
  });
}

Napi::Value mpiVersion(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::String::New(info.Env(), ranks::openMpi(textsOf(info[0], "libraries")).version); });
}

Napi::Value ncclVersion(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    Absence absence;
    const ranks::Nccl* const library = ranks::openNccl(absence);
    if (!library) throw Error("no-nccl", absence.problem + ".", absence.remedy);
    Napi::Object found = Napi::Object::New(info.Env());
    found.Set("version", ranks::ncclVersionText(library->version));
    found.Set("path", library->path);
    return found;
  });
}

Napi::Value glooVersion(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return Napi::String::New(info.Env(), ranks::glooVersion()); });
}

Napi::Value openGloo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string address = info[0].ToString();
    const int32_t rank = smallInteger(info[1], "rank"), size = smallInteger(info[2], "size");
    if (size < 2 || rank < 0 || rank >= size)
      throw Error("invalid-argument", "openGloo: expected one of two or more ranks.");
    const std::chrono::milliseconds patience(wholeNumber(info[3], "patience"));
    std::shared_ptr<ranks::GlooRank> listening = ranks::openGloo(address, rank, size, patience);
    const std::vector<std::byte> addresses = listening->addresses();
    const std::lock_guard lock(ofProcess().mutex);
    ofProcess().listening = std::move(listening);
    return arrayOf(info.Env(), addresses);
  });
}

Napi::Value connectGloo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Copy addresses = copyOf(info[0], "addresses");
    const int64_t limit = wholeNumber(info[1], "limit");
    std::shared_ptr<ranks::GlooRank> listening;
    {
      const std::lock_guard lock(ofProcess().mutex);
      listening = std::exchange(ofProcess().listening, nullptr);
    }
    if (!listening) throw Error("invalid-argument", "connectGloo: expected openGloo before.");
    const auto start = [listening, addresses](ranks::Terms terms) {
      return listening->connect(*addresses, std::move(terms));
    };
    return connect(info.Env(), start, std::chrono::milliseconds(limit));
  });
}

void endRanks(int exitCode) {
  std::shared_ptr<ranks::Group> group;
  {
    const std::lock_guard lock(ofProcess().mutex);
    group = ofProcess().group;
  }
  if (group) group->end(exitCode);
}

Napi::Function RanksObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeRanks",
      {InstanceAccessor<&RanksObject::rank>("rank"), InstanceAccessor<&RanksObject::size>("size"),
       InstanceAccessor<&RanksObject::library>("library"), InstanceMethod<&RanksObject::sum>("sum"),
       InstanceMethod<&RanksObject::broadcast>("broadcast"), InstanceMethod<&RanksObject::gather>("gather"),
       InstanceMethod<&RanksObject::connectDevice>("connectDevice"),
       InstanceMethod<&RanksObject::sumOnDevice>("sumOnDevice"), InstanceMethod<&RanksObject::gatherInto>("gatherInto"),
       InstanceMethod<&RanksObject::abort>("abort"), InstanceMethod<&RanksObject::close>("close")});
}

RanksObject::RanksObject(const Napi::CallbackInfo& info)
    : TaggedObject(info), group_(fromExternal<std::shared_ptr<ranks::Group>>(info, "connectMpi")) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

Napi::Object RanksObject::create(Napi::Env env, std::shared_ptr<ranks::Group> group) {
  return Environment::of(env).ranksClass.New({Napi::External<std::shared_ptr<ranks::Group>>::New(env, &group)});
}

Napi::Promise RanksObject::collective(Napi::Env env, ranks::Group::Task task, Completions::Result result,
                                      const Napi::Value& kept) {
  const auto start = [&](Completions::Done done) { group_->run(std::move(task), std::move(done)); };
  return Environment::of(env).completions->whenDone(env, start, std::move(result), kept);
}

Napi::Value RanksObject::sum(Info info) {
  return guarded(info.Env(), [&] {
    const Copy copy = copyOf(info[0], "values");
    if (info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
      throw Error("invalid-argument", "Expected a Float32Array for values.");
    const auto task = [copy](ranks::Engine& engine) {
      engine.sum(reinterpret_cast<float*>(copy->data()), copy->size() / sizeof(float));
    };
    // Puts the result where the values came from.
    const auto result = [copy](Napi::Env env, const Napi::Value& kept) -> Napi::Value {
      const auto [data, count] = bytesOf(kept.As<Napi::TypedArray>());
      if (count != copy->size())
        throw toJavaScript(env, "invalid-argument", "The array of a collective has changed its size meanwhile.");
      if (count > 0) std::memcpy(data, copy->data(), count);
      return kept;
    };
    return collective(info.Env(), task, result, info[0]);
  });
}

Napi::Value RanksObject::broadcast(Info info) {
  return guarded(info.Env(), [&] {
    const int32_t from = smallInteger(info[1], "from");
    if (from < 0 || from >= group_->engine().size())
      throw Error("invalid-argument", "Expected a rank for from but received " + std::to_string(from) + ".");
    const Copy bytes = copyOf(info[0], "bytes");
    const auto task = [bytes, from](ranks::Engine& engine) { engine.broadcast(*bytes, from); };
    const auto result = [bytes](Napi::Env env, const Napi::Value&) -> Napi::Value { return arrayOf(env, *bytes); };
    return collective(info.Env(), task, result);
  });
}

Napi::Value RanksObject::gather(Info info) {
  return guarded(info.Env(), [&] {
    const Copy bytes = copyOf(info[0], "bytes");
    const auto all = std::make_shared<std::vector<std::vector<std::byte>>>();
    const auto task = [bytes, all](ranks::Engine& engine) { *all = engine.gather(*bytes); };
    const auto result = [all](Napi::Env env, const Napi::Value&) -> Napi::Value {
      Napi::Array list = Napi::Array::New(env, all->size());
      for (uint32_t rank = 0; rank < all->size(); ++rank) list.Set(rank, arrayOf(env, (*all)[rank]));
      return list;
    };
    return collective(info.Env(), task, result);
  });
}

Napi::Value RanksObject::connectDevice(Info info) {
  return guarded(info.Env(), [&] {
    Device& device = DeviceObject::unwrap(info[0]);
    const auto why = std::make_shared<std::string>();
    const auto task = [&device, why, group = group_.get()](ranks::Engine&) { *why = group->connectDevice(device); };
    const auto result = [why](Napi::Env env, const Napi::Value&) -> Napi::Value {
      return why->empty() ? env.Null() : Napi::String::New(env, *why);
    };
    return collective(info.Env(), task, result);
  });
}

Napi::Value RanksObject::sumOnDevice(Info info) {
  return guarded(info.Env(), [&] {
    if (!info[0].IsArray()) throw Error("invalid-argument", "sumOnDevice: expected a list of tensors.");
    const Napi::Array array = info[0].As<Napi::Array>();
    std::vector<Tensor> tensors(lengthOf(array, 1u << 20, "tensors"));
    for (uint32_t i = 0; i < tensors.size(); ++i) tensors[i] = TensorObject::unwrap(array.Get(i));
    for (const Tensor& tensor : tensors)
      if (!tensor || tensor.dtype() != DType::f32 || !tensor.dense())
        throw Error("invalid-argument", "sumOnDevice: expected dense tensors of float32.");
    for (const Tensor& tensor : tensors)
      if (&tensor.device() != &tensors.front().device())
        throw Error("invalid-argument", "sumOnDevice: expected tensors of one device.");
    const bool onCpu = tensors.empty() || tensors.front().device().kind() == "cpu";
    const auto start = [&](Completions::Done done) {
      if (onCpu) return group_->run(sumInMemory(tensors, group_), std::move(done));
      group_->runOnGpus([&](ranks::NcclRanks& gpus) { return gpus.sum(tensors); }, std::move(done));
    };
    return Environment::of(info.Env()).completions->whenDone(info.Env(), start, undefined);
  });
}

Napi::Value RanksObject::gatherInto(Info info) {
  return guarded(info.Env(), [&] {
    const Tensor given = TensorObject::unwrap(info[0]), all = TensorObject::unwrap(info[1]);
    requireBytes(given, "given");
    requireBytes(all, "all");
    const auto size = static_cast<size_t>(group_->engine().size());
    if (all.bytes() != size * given.bytes() || &all.device() != &given.device())
      throw Error("invalid-argument",
                  "gatherInto: expected room for the bytes of " + std::to_string(size) + " ranks on the same device.");
    const bool onCpu = all.device().kind() == "cpu";
    const auto inStream = onCpu ? begunIn(all) : nullptr;
    const auto start = [&](Completions::Done done) {
      if (!onCpu)
        return group_->runOnGpus([&](ranks::NcclRanks& gpus) { return gpus.gather(given, all); }, std::move(done));
      const auto task = [given, all, inStream, group = group_](ranks::Engine& engine) {
        inStream->awaitBeginning(engine, *group);
        engine.gather(memoryOf(given), given.bytes(), memoryOf(all));
      };
      const auto ended = [inStream, done = std::move(done)](const std::optional<Error>& failure) {
        done(failure);
        inStream->end(failure);
      };
      group_->run(task, ended);
    };
    Napi::Object gathering = Napi::Object::New(info.Env());
    gathering.Set("done", Environment::of(info.Env()).completions->whenDone(info.Env(), start, undefined));
    const auto wait = [inStream, device = &all.device()](const Napi::CallbackInfo& call) {
      return guarded(call.Env(), [&] {
        if (!inStream)
          join(*device);
        else if (const Tensor target = inStream->target())
          enqueue(target, [inStream] { inStream->awaitEnd(); });
        return call.Env().Undefined();
      });
    };
    gathering.Set("wait", Napi::Function::New(info.Env(), wait, "wait"));
    return gathering;
  });
}

Napi::Value RanksObject::close(Info info) {
  return guarded(info.Env(), [&] {
    const auto start = [&](Completions::Done done) { group_->close(std::move(done)); };
    return Environment::of(info.Env()).completions->whenDone(info.Env(), start, undefined);
  });
}

}  // namespace mora::addon
