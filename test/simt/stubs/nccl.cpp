// The stand-in of NCCL: connects the emulated devices of several processes of this machine, over shared memory. Calls
// start a little later, as with a non-blocking communicator; a collective is work of the emulated stream, and waits
// there for the other ranks, or until it is aborted. Like NCCL it refuses two ranks on one device.
//
//   STUB_NCCL_VERSION   as 22203; 23004 unless set
//   STUB_NCCL_FAIL      6@3: from its third collective on, it answers with result 6; with 7 it never ends
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ranks/nccl_library.h"

using mora::ranks::NcclConfig;
using mora::ranks::NcclId;
using mora::ranks::NcclOperation;
using mora::ranks::NcclResult;
using mora::ranks::NcclType;

namespace {

constexpr int kMostRanks = 8;
constexpr size_t kChunk = 1 << 16;  // bytes
constexpr NcclResult kInvalidArgument{4}, kInvalidUsage{5};

/// State that all ranks share; its memory is initially zero.
struct Shared {
  std::atomic<int> arrived, turn;
  std::atomic<int> devices[kMostRanks];  // device number plus 1
  alignas(float) std::byte brought[kMostRanks][kChunk];
};

void rest() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

std::atomic<const char*> lastError = "";

NcclResult refused(NcclResult result, const std::string& why) {
  lastError = strdup(why.c_str());
  return result;
}

/// A function of the emulated runtime in this process.
template <typename Function>
Function* runtime(const char* name) {
  static void* const library = [] {
    std::string path;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* user) {
          const std::string found = info->dlpi_name;
          if (found.find("mora_cuda_emulated") != std::string::npos) *static_cast<std::string*>(user) = found;
          return 0;
        },
        &path);
    return dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  }();
  return reinterpret_cast<Function*>(dlsym(library, name));
}

int currentDevice() {
  int device = -1;
  runtime<int(int*)>("cudaGetDevice")(&device);
  return device;
}

}  // namespace

namespace mora::ranks {

/// Never freed: work of the stream may still use it.
struct NcclCommunicatorOfLibrary {
  NcclCommunicatorOfLibrary(int rank, int size, const char* name)
      : rank(rank), size(size), device(currentDevice()), name(name) {}

  const int rank, size, device;
  const std::string name;
  Shared* shared = nullptr;
  std::atomic<bool> aborted = false;
  std::atomic<NcclResult> state = NcclResult::inProgress;
  int collectives = 0;

  /// Returns false if it was aborted before all ranks came.
  bool meet() const {
    const int turn = shared->turn;
    if (++shared->arrived == size) {
      shared->arrived = 0;
      ++shared->turn;
      return true;
    }
    while (shared->turn == turn) {
      if (aborted) return false;
      rest();
    }
    return true;
  }

  void connect() {
    const int file = shm_open(name.c_str(), O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, sizeof(Shared)) != 0) return finish(NcclResult::systemError);
    shared = static_cast<Shared*>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    close(file);
    if (shared == MAP_FAILED) return finish(NcclResult::systemError);
    shared->devices[rank] = device + 1;
    const bool allCame = meet();
    if (rank == 0) shm_unlink(name.c_str());
    if (!allCame) return;
    for (int other = 0; other < size; ++other)
      if (other != rank && shared->devices[other] == device + 1)
        return finish(refused(kInvalidUsage, "Duplicate GPU detected : rank " + std::to_string(rank) + " and rank " +
                                                 std::to_string(other) + " both on CUDA device " +
                                                 std::to_string(device)));
    finish(NcclResult::success);
  }

  void finish(NcclResult result) { state = result; }

  /// Adds bytes that are floats.
  void add(const std::byte* given, std::byte* to, size_t bytes) const {
    bring(given, bytes, [&](size_t begin, size_t part) {
      std::vector<float> sum(part / sizeof(float));
      for (int other = 0; other < size; ++other) {
        const auto* const values = reinterpret_cast<const float*>(shared->brought[other]);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
      }
      std::memcpy(to + begin, sum.data(), part);
    });
  }

  void gather(const std::byte* given, std::byte* to, size_t bytes) const {
    bring(given, bytes, [&](size_t begin, size_t part) {
      for (int other = 0; other < size; ++other)
        std::memcpy(to + static_cast<size_t>(other) * bytes + begin, shared->brought[other], part);
    });
  }

 private:
  /// On the stream: passes the data of all ranks to `use`, piece by piece.
  template <typename Use>
  void bring(const std::byte* given, size_t bytes, Use use) const {
    for (size_t begin = 0; begin < bytes; begin += kChunk) {
      const size_t part = std::min(kChunk, bytes - begin);
      std::memcpy(shared->brought[rank], given + begin, part);
      if (!meet()) return;
      use(begin, part);
      if (!meet()) return;  // before any rank brings more
    }
  }
};

}  // namespace mora::ranks

namespace {

using Communicator = mora::ranks::NcclCommunicatorOfLibrary;

struct Collective {
  void (Communicator::*make)(const std::byte* given, std::byte* to, size_t bytes) const;
  Communicator* communicator;
  const void* given;
  void* to;
  size_t bytes;
  void* stream;
};

thread_local std::optional<std::vector<Collective>> group;

/// The result that STUB_NCCL_FAIL requests, from that collective on.
NcclResult fault(int collective) {
  const char* const text = std::getenv("STUB_NCCL_FAIL");
  const char* const at = text ? std::strchr(text, '@') : nullptr;
  return at && collective >= std::atoi(at + 1) ? NcclResult{std::atoi(text)} : NcclResult::success;
}

/// Enqueues the collectives later, so that a caller that does not ask for completion continues too early.
void begin(std::vector<Collective> all) {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  Communicator& communicator = *all.front().communicator;
  if (communicator.aborted) return;
  if (const NcclResult failed = fault(++communicator.collectives); failed != NcclResult::success)
    return communicator.finish(refused(failed, "the stand-in was told to"));
  for (const Collective& one : all)
    runtime<int(void*, void (*)(void*), void*)>("cudaLaunchHostFunc")(
        one.stream,
        [](void* user) {
          const std::unique_ptr<Collective> work(static_cast<Collective*>(user));
          (work->communicator->*work->make)(static_cast<const std::byte*>(work->given),
                                            static_cast<std::byte*>(work->to), work->bytes);
        },
        new Collective(one));
  communicator.finish(NcclResult::success);
}

/// Starts the collectives that a thread has requested.
NcclResult start(std::vector<Collective> all) {
  if (all.empty()) return NcclResult::success;
  all.front().communicator->state = NcclResult::inProgress;
  std::thread(begin, std::move(all)).detach();
  return NcclResult::inProgress;
}

/// Null, or why it cannot be started.
const char* refusal(const Communicator& communicator) {
  if (communicator.state != NcclResult::success) return "the communicator is not ready";
  return currentDevice() == communicator.device ? nullptr : "another device is current";
}

}  // namespace

extern "C" {

NcclResult ncclGetVersion(int* version) {
  const char* const text = std::getenv("STUB_NCCL_VERSION");
  *version = text ? std::atoi(text) : 23004;
  return NcclResult::success;
}

NcclResult ncclGetUniqueId(NcclId* id) {
  std::random_device random;
  const std::string name = "/stub-nccl-" + std::to_string(getpid()) + "-" + std::to_string(random());
  std::memset(id, 0, sizeof *id);
  name.copy(id->bytes, sizeof id->bytes - 1);
  return NcclResult::success;
}

NcclResult ncclCommInitRankConfig(Communicator** made, int size, NcclId id, int rank, NcclConfig* config) {
  const NcclConfig expected;
  if (config->magic != expected.magic || config->size < sizeof expected || config->blocking != 0)
    return refused(kInvalidArgument, "the stand-in expects a non-blocking communicator");
  if (size > kMostRanks || rank < 0 || rank >= size) return refused(kInvalidArgument, "a rank of too many");
  *made = new Communicator(rank, size, id.bytes);
  std::thread([communicator = *made] { communicator->connect(); }).detach();
  return NcclResult::inProgress;
}

NcclResult ncclGroupStart() {
  group.emplace();
  return NcclResult::success;
}

NcclResult ncclAllReduce(const void* from, void* to, size_t count, NcclType type, NcclOperation operation,
                         Communicator* communicator, void* stream) {
  if (!group || from != to || type != NcclType::float32 || operation != NcclOperation::sum)
    return refused(kInvalidArgument, "the stand-in adds up float32 in place, in groups");
  if (const char* const why = refusal(*communicator)) return refused(kInvalidUsage, why);
  group->push_back({&Communicator::add, communicator, from, to, count * sizeof(float), stream});
  return NcclResult::success;
}

NcclResult ncclAllGather(const void* from, void* to, size_t count, NcclType type, Communicator* communicator,
                         void* stream) {
  if (group || type != NcclType::uint8) return refused(kInvalidArgument, "the stand-in gathers bytes, one by one");
  if (const char* const why = refusal(*communicator)) return refused(kInvalidUsage, why);
  return start({{&Communicator::gather, communicator, from, to, count, stream}});
}

NcclResult ncclGroupEnd() {
  std::vector<Collective> all = std::move(*group);
  group.reset();
  return start(std::move(all));
}

NcclResult ncclCommGetAsyncError(Communicator* communicator, NcclResult* error) {
  *error = communicator->state;
  return NcclResult::success;
}

NcclResult ncclCommAbort(Communicator* communicator) {
  communicator->aborted = true;
  return NcclResult::success;
}

const char* ncclGetErrorString(NcclResult result) {
  switch (static_cast<int>(result)) {
    case 2:
      return "unhandled system error";
    case 5:
      return "invalid usage";
    case 6:
      return "remote process exited or there was a network error";
    default:
      return "an error of the stand-in";
  }
}

const char* ncclGetLastError(Communicator*) { return lastError; }
}
