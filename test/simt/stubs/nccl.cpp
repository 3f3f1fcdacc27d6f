// The stand-in of NCCL: connects the emulated devices of several processes of this machine, over shared memory. What is
// asked of it begins a little later, as with a non-blocking communicator; a sum is work of the emulated stream, and waits
// there for the other ranks, or until it is aborted. Like NCCL it refuses a device that is two ranks.
//
//   STUB_NCCL_VERSION   as 22203; 23004 unless set
//   STUB_NCCL_FAIL      6@3: from its third sum on, it answers with result 6; with 7 it never comes to an end
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
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
constexpr size_t kChunk = 1 << 14;
constexpr NcclResult kInvalidArgument{4}, kInvalidUsage{5};

/// What all ranks see. Its memory begins as zeros.
struct Shared {
  std::atomic<int> arrived, turn;
  std::atomic<int> devices[kMostRanks];  // and 1
  float brought[kMostRanks][kChunk];
};

void rest() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

std::atomic<const char*> lastError = "";

NcclResult refused(NcclResult result, const std::string& why) {
  lastError = strdup(why.c_str());
  return result;
}

/// A function of the emulated runtime that this process has.
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

/// Never freed: work of the stream may still look at it.
struct NcclCommunicatorOfLibrary {
  NcclCommunicatorOfLibrary(int rank, int size, const char* name)
      : rank(rank), size(size), device(currentDevice()), name(name) {}

  const int rank, size, device;
  const std::string name;
  Shared* shared = nullptr;
  std::atomic<bool> aborted = false;
  std::atomic<NcclResult> state = NcclResult::inProgress;
  int sums = 0;

  /// False when it was aborted before all ranks came.
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

  /// On the stream.
  void add(float* values, size_t count) {
    std::vector<float> sum(kChunk);
    for (size_t begin = 0; begin < count; begin += kChunk) {
      const size_t part = std::min(kChunk, count - begin);
      std::memcpy(shared->brought[rank], values + begin, part * sizeof(float));
      if (!meet()) return;
      for (size_t i = 0; i < part; ++i) {
        sum[i] = 0;
        for (int other = 0; other < size; ++other) sum[i] += shared->brought[other][i];
      }
      if (!meet()) return;  // before anybody brings more
      std::memcpy(values + begin, sum.data(), part * sizeof(float));
    }
  }
};

}  // namespace mora::ranks

namespace {

using Communicator = mora::ranks::NcclCommunicatorOfLibrary;

struct Sum {
  Communicator* communicator;
  float* values;
  size_t count;
  void* stream;
};

thread_local std::optional<std::vector<Sum>> group;

/// What STUB_NCCL_FAIL wants, from that sum on.
NcclResult fault(int sum) {
  const char* const text = std::getenv("STUB_NCCL_FAIL");
  const char* const at = text ? std::strchr(text, '@') : nullptr;
  return at && sum >= std::atoi(at + 1) ? NcclResult{std::atoi(text)} : NcclResult::success;
}

/// Enqueues sums later, so that whoever does not ask whether they were is too early.
void begin(std::vector<Sum> sums) {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  Communicator& communicator = *sums.front().communicator;
  if (communicator.aborted) return;
  if (const NcclResult failed = fault(++communicator.sums); failed != NcclResult::success)
    return communicator.finish(refused(failed, "the stand-in was told to"));
  for (const Sum& sum : sums)
    runtime<int(void*, void (*)(void*), void*)>("cudaLaunchHostFunc")(
        sum.stream,
        [](void* user) {
          const auto* const work = static_cast<Sum*>(user);
          work->communicator->add(work->values, work->count);
          delete work;
        },
        new Sum(sum));
  communicator.finish(NcclResult::success);
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
  if (communicator->state != NcclResult::success) return refused(kInvalidUsage, "the communicator is not ready");
  if (currentDevice() != communicator->device) return refused(kInvalidUsage, "another device is current");
  group->push_back({communicator, static_cast<float*>(to), count, stream});
  return NcclResult::success;
}

NcclResult ncclGroupEnd() {
  const std::vector<Sum> sums = std::move(*group);
  group.reset();
  if (sums.empty()) return NcclResult::success;
  sums.front().communicator->state = NcclResult::inProgress;
  std::thread(begin, sums).detach();
  return NcclResult::inProgress;
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
