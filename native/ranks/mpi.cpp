// Ranks that MPI connects.
//
// Every call is non-blocking and then polled, by one thread: MPI's own waits spin, which would take a core from another
// rank of this machine for as long as that computes, and never end where a rank is gone. Only where ranks meet before a
// collective, waiting has pauses. Meanwhile ranks send each other beats.
#include <algorithm>
#include <cstdint>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/system/libraries.h"
#include "ranks/beat.h"
#include "ranks/mpi_library.h"

namespace mora::ranks {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Elements of one call, whose count is an int.
constexpr size_t kMostElements = size_t{1} << 28;
constexpr int kTag = 1;
constexpr int kSuccess = 0;

/// The constants of a binary interface. Handle: int or a pointer.
template <typename Handle>
struct Constants {
  Handle world, float32, float64, byte, sum, errorsReturn;
  void *inPlace, *statusIgnore;
  int funneled;  // the level of threads where one thread calls MPI
};

Constants<void*> ofOpenMpi(void* library) {
  const auto object = [library](const char* name) {
    void* const address = addressIn(library, name);
    if (!address) throw Error("no-mpi", std::string("This Open MPI has no ") + name + ".");
    return address;
  };
  return {object("ompi_mpi_comm_world"),
          object("ompi_mpi_float"),
          object("ompi_mpi_double"),
          object("ompi_mpi_byte"),
          object("ompi_mpi_op_sum"),
          object("ompi_mpi_errors_return"),
          reinterpret_cast<void*>(intptr_t{1}),
          nullptr,
          1};
}

/// The common ABI of MPICH, Intel MPI, MVAPICH and Cray MPICH.
constexpr int kMpichWorld = 0x44000000, kMpichFloat = 0x4c00040a, kMpichDouble = 0x4c00080b, kMpichByte = 0x4c00010d,
              kMpichSum = 0x58000003, kMpichErrorsReturn = 0x54000001;

Constants<int> ofMpich() {
  return {kMpichWorld,
          kMpichFloat,
          kMpichDouble,
          kMpichByte,
          kMpichSum,
          kMpichErrorsReturn,
          reinterpret_cast<void*>(intptr_t{-1}),
          reinterpret_cast<void*>(intptr_t{1}),
          1};
}

/// MPI 5.0, chapter "Application Binary Interface".
Constants<void*> ofStandard() {
  const auto handle = [](intptr_t value) { return reinterpret_cast<void*>(value); };
  return {handle(0x101), handle(0x210), handle(0x214), handle(0x247), handle(0x21),
          handle(0x143), handle(1),     nullptr,       1024};
}

template <typename Handle>
class Mpi : public Engine {
 public:
  Mpi(const MpiLibrary& library, Constants<Handle> constants, Terms terms)
      : constants_(constants), terms_(std::move(terms)), version_(library.version) {
    resolve(library.handle);
    int granted = 0;
    check(initThread_(nullptr, nullptr, constants_.funneled, &granted), "MPI_Init_thread");
    setErrhandler_(constants_.world, constants_.errorsReturn);
    check(commDup_(constants_.world, &ranks_), "MPI_Comm_dup");
    setErrhandler_(ranks_, constants_.errorsReturn);
    check(commRank_(ranks_, &rank_), "MPI_Comm_rank");
    check(commSize_(ranks_, &size_), "MPI_Comm_size");
    if (size_ > 1) listen();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string library() const override { return version_; }

  void tend() override {
    if (size_ == 1) return;
    const Clock::time_point now = Clock::now();
    // What this process was stopped itself is no silence of another.
    const Clock::duration passed = std::min<Clock::duration>(now - tended_, 1s);
    if (passed < 1ms) return;
    tended_ = now;
    if (hasFailed_) return test(&telling_), void();
    silence_ += passed;
    sinceBeat_ += passed;
    if (test(&hearing_)) heed();
    if (sinceBeat_ >= beatInterval(terms_.silence) && test(&beating_)) say(Word::beat);
    if (silence_ > terms_.silence) {
      fail(before(), whySilent(terms_.silence));
      throw told_.failure();
    }
  }

  void fail(int rank, const std::string& why) override {
    if (hasFailed_ || size_ == 1) return;
    hasFailed_ = true;
    told_ = Beat::ofFailure(rank, why);
    check(send_(&told_, sizeof told_, constants_.byte, after(), kTag, ranks_, &telling_), "MPI_Isend");
  }

  void abort() noexcept override { abort_(constants_.world, 1); }

  void finish() override {
    if (size_ > 1) {
      wait(&beating_);
      say(Word::goodbye);
      wait(&beating_);
      while (heard_.word != Word::goodbye) wait(&hearing_), heed();
    }
    check(finalize_(), "MPI_Finalize");
  }

 protected:
  void allReduce(float* values, size_t count) override {
    inParts(count, [&](size_t start, int part, Handle* request) {
      return allReduce_(constants_.inPlace, values + start, part, constants_.float32, constants_.sum, ranks_, request);
    });
  }

  void send(std::byte* bytes, size_t count, int from) override {
    inParts(count, [&](size_t start, int part, Handle* request) {
      return broadcast_(bytes + start, part, constants_.byte, from, ranks_, request);
    });
  }

  void allGather(const std::byte* given, size_t count, std::byte* all, bool late) override {
    // In one call, so that what ranks give lies in one piece: elements are as large as their number allows.
    const size_t width = count % sizeof(double) == 0 ? sizeof(double) : 1;
    if (count / width > kMostElements) throw Error("too-large", "Ranks gather at most 2 GiB of each at a time.");
    const Handle type = width == 1 ? constants_.byte : constants_.float64;
    const int elements = static_cast<int>(count / width);
    Handle request;
    check(gather_(given, elements, type, all, elements, type, ranks_, &request), "MPI_Iallgather");
    wait(&request, late ? 20us : Clock::duration{});
  }

 private:
  template <typename Function>
  static void find(void* library, const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(addressIn(library, name));
    if (!function) throw Error("no-mpi", std::string("This MPI library has no ") + name + ".");
  }

  void resolve(void* library) {
    find(library, "MPI_Init_thread", initThread_);
    find(library, "MPI_Comm_dup", commDup_);
    find(library, "MPI_Comm_rank", commRank_);
    find(library, "MPI_Comm_size", commSize_);
    find(library, "MPI_Comm_set_errhandler", setErrhandler_);
    find(library, "MPI_Iallreduce", allReduce_);
    find(library, "MPI_Ibcast", broadcast_);
    find(library, "MPI_Iallgather", gather_);
    find(library, "MPI_Isend", send_);
    find(library, "MPI_Irecv", receive_);
    find(library, "MPI_Test", test_);
    find(library, "MPI_Error_string", errorString_);
    find(library, "MPI_Abort", abort_);
    find(library, "MPI_Finalize", finalize_);
  }

  void check(int code, const char* call) {
    if (code == kSuccess) return;
    char text[1024] = "";  // MPI_MAX_ERROR_STRING is at most 512
    int length = 0;
    errorString_(code, text, &length);
    throw Error("ranks-failed", std::string(call) + " failed on rank " + std::to_string(rank_) + ": " + text + ".");
  }

  template <typename Start>
  void inParts(size_t count, Start start) {
    for (size_t begin = 0; begin < count; begin += kMostElements) {
      Handle request;
      check(start(begin, static_cast<int>(std::min(kMostElements, count - begin)), &request), "A collective of MPI");
      wait(&request);
    }
  }

  /// Polls until a request is done, with growing pauses where it may take long.
  void wait(Handle* request, Clock::duration pause = {}) {
    while (!test(request)) {
      if (terms_.givesUp()) throw GivenUp{};
      tend();
      if (pause == Clock::duration{}) {
        std::this_thread::yield();
        continue;
      }
      std::this_thread::sleep_for(pause);
      pause = std::min<Clock::duration>(2 * pause, 500us);
    }
  }

  bool test(Handle* request) {
    int done = 0;
    check(test_(request, &done, constants_.statusIgnore), "MPI_Test");
    return done != 0;
  }

  int before() const { return ranks::before(rank_, size_); }
  int after() const { return ranks::after(rank_, size_); }

  void listen() {
    tended_ = Clock::now();
    hear();
    say(Word::beat);
  }

  void hear() {
    check(receive_(&heard_, sizeof heard_, constants_.byte, before(), kTag, ranks_, &hearing_), "MPI_Irecv");
  }

  void say(Word word) {
    sent_.word = word;
    sinceBeat_ = {};
    check(send_(&sent_, sizeof sent_, constants_.byte, after(), kTag, ranks_, &beating_), "MPI_Isend");
  }

  /// Does what the rank before has said, and listens again unless it was the last word.
  void heed() {
    silence_ = {};
    if (heard_.word == Word::goodbye) return;
    if (heard_.word == Word::failure) {
      fail(heard_.rank, heard_.reason());  // passes it on
      throw heard_.failure();
    }
    hear();
  }

  Constants<Handle> constants_;
  Terms terms_;
  std::string version_;
  Handle ranks_{};
  int rank_ = 0, size_ = 1;

  Handle hearing_{}, beating_{}, telling_{};
  Beat heard_, sent_, told_;
  bool hasFailed_ = false;
  Clock::time_point tended_;
  Clock::duration silence_{}, sinceBeat_{};

  int (*initThread_)(int*, char***, int, int*);
  int (*commDup_)(Handle, Handle*);
  int (*commRank_)(Handle, int*);
  int (*commSize_)(Handle, int*);
  int (*setErrhandler_)(Handle, Handle);
  int (*allReduce_)(const void*, void*, int, Handle, Handle, Handle, Handle*);
  int (*broadcast_)(void*, int, Handle, int, Handle, Handle*);
  int (*gather_)(const void*, int, Handle, void*, int, Handle, Handle, Handle*);
  int (*send_)(const void*, int, Handle, int, int, Handle, Handle*);
  int (*receive_)(void*, int, Handle, int, int, Handle, Handle*);
  int (*test_)(Handle*, int*, void*);
  int (*errorString_)(int, char*, int*);
  int (*abort_)(Handle, int);
  int (*finalize_)();
};

}  // namespace

std::unique_ptr<Engine> startMpi(const MpiLibrary& library, Terms terms) {
  switch (library.abi) {
    case MpiAbi::openMpi:
      return std::make_unique<Mpi<void*>>(library, ofOpenMpi(library.handle), std::move(terms));
    case MpiAbi::standard:
      return std::make_unique<Mpi<void*>>(library, ofStandard(), std::move(terms));
    case MpiAbi::mpich:
      break;
  }
  return std::make_unique<Mpi<int>>(library, ofMpich(), std::move(terms));
}

}  // namespace mora::ranks
