// The contract between the core and a device: a C table of functions over plain descriptors. Nothing of the
// standard library and no exception crosses it, because a backend may be a shared library built elsewhere.
//
// A backend executes in order on a stream. Every operation below copies its descriptors, enqueues and returns;
// shapes, dtypes and devices were checked by operations/ before. What fails later, on the stream, is
// reported to the next callback. Memory is stream-ordered: released memory may be handed out again at once,
// because whatever uses it next is enqueued after whatever used it before.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/parameters.h"
#include "mora/geometry.h"

namespace mora {

constexpr int kMaxRank = 4;

/// A strided view of device memory. Strides count elements; a block format is dense in its last dimension.
struct TensorDesc {
  void* data;
  DType dtype;
  int32_t rank;
  int64_t shape[kMaxRank];
  int64_t strides[kMaxRank];
};

struct TensorList {
  const TensorDesc* tensors;
  int64_t count;
};

/// A frozen matrix of small codes: value = scale * (table[code] - zero), rounded to f32 once.
struct CodedMatrix {
  TensorDesc codes;       // u8 [rows, columns], or [rows, columns / 2] of 4-bit codes
  TensorDesc table;       // f32 [16] or [256]; without data, a code is its own value
  TensorDesc scales;      // [n] of a float type, or u8 codes of them
  TensorDesc zeros;       // u8 [n], may lack data
  TensorDesc groups;      // i32 [columns]: the group of each; without data, column / groupSize
  TensorDesc scaleTable;  // f32 [256], and
  /// f32, where scales are codes: scale i = scaleScales[i / scalesPerScale] * scaleTable[code] + scaleOffset.
  TensorDesc scaleScales;
  CodeLayout layout;
};

// What the parameters of core/operations.def are to a backend. An Optional that is absent has a null `data`.
using In = TensorDesc;
using Out = TensorDesc;
using InOut = TensorDesc;
using Blocks = TensorDesc;
using Coded = CodedMatrix;
using Optional = TensorDesc;
using Tensors = TensorList;
using Flag = bool;
using Real = float;
using Factor = float;

enum class Operation : int32_t {
  none = 0,
#define MORA_OPERATION(name, ...) name,
#include "core/operations.def"
};

/// Changes with the operations and their parameters; `layout` is counted up where the structures here change.
constexpr uint32_t backendAbi(uint32_t layout) {
  constexpr char kOperations[] =
#define MORA_OPERATION(name, ...) #name "(" #__VA_ARGS__ ")"
#include "core/operations.def"
      ;
  uint32_t hash = 2166136261u ^ layout;  // FNV-1a
  for (const char letter : kOperations) hash = (hash ^ static_cast<uint8_t>(letter)) * 16777619u;
  return hash;
}
constexpr uint32_t kBackendAbi = backendAbi(10);

enum class Status : int32_t { ok = 0, invalidArgument, unsupported, outOfMemory, failed };

struct Stream;  // opaque, one per device: owns its queue, its allocator and its library handles

struct MemoryFigures {
  uint64_t inUse;    // bytes that are handed out and of working space
  uint64_t peak;     // highest inUse since the last reset
  uint64_t cached;   // bytes held from the system and not in use
  uint64_t limit;    // allocations past this fail; 0 is no limit
  uint64_t working;  // of inUse: what operations keep for themselves from one to the next
};

struct DeviceFacts {
  char name[256];
  uint64_t totalMemory;
  int32_t threads;       // worker threads, or multiprocessors
  int32_t fastBfloat16;  // 1 where bf16 products are faster than f32
  int32_t int8Products;  // 1 where matmulInt8 is there
  char detail[512];      // instruction sets, compute capability
};

/// What went wrong on the stream, with the operation's name; message is empty when nothing did.
struct StreamError {
  Status status;
  char operation[64];
  char message[448];
};

/// Bytes of the host: its memory, or a file.
struct HostSource {
  /// Writes bytes [offset, offset + bytes) to `to`; called for one part after the other, or for several at the same
  /// time on threads of the backend. Null, or why it failed: a sentence without its full stop, valid until `done`.
  const char* (*read)(void* user, void* to, size_t offset, size_t bytes);
  /// Nothing is read any more; called even if nothing was.
  void (*done)(void* user);
  void* user;
};

struct Backend {
  uint32_t abi;  // kBackendAbi
  const char* name;

  // --- device and stream -------------------------------------------------------------------------------------
  int32_t (*deviceCount)();
  Status (*deviceFacts)(int32_t device, DeviceFacts* facts);
  /// `why` gets a sentence without its full stop where there is none to be had.
  Status (*streamCreate)(int32_t device, int32_t threads, Stream** stream, char* why, size_t capacity);
  Status (*setThreads)(Stream*, int32_t threads);
  /// Whether f32 products of what is enqueued from here on may round their inputs to TF32 (10 bits of fraction). Not at
  /// first; without effect on a device that has no TF32.
  Status (*setAllowTf32)(Stream*, bool allow);
  uint64_t (*queueDepth)(Stream*);  // operations enqueued and not finished
  /// Calls `done(user, error)` from a thread of the backend once everything before it is done, then forgets the error.
  Status (*callback)(Stream*, void (*done)(void* user, const StreamError* error), void* user);
  /// Why the device is lost and every call fails from here on; status ok as long as it isn't.
  StreamError (*failure)(Stream*);
  /// Drops what has not started, waits for what has, and refuses further work: for the end of the process.
  void (*shutdown)(Stream*);

  // --- memory ------------------------------------------------------------------------------------------------
  Status (*allocate)(Stream*, size_t bytes, void** data);  // 64-byte aligned
  void (*release)(Stream*, void* data);
  void (*memoryFigures)(Stream*, MemoryFigures* figures);
  void (*setMemoryLimit)(Stream*, uint64_t bytes);
  void (*resetPeak)(Stream*);
  Status (*trim)(Stream*);  // gives cached memory back to the system
  Status (*copyFromHost)(Stream*, void* target, size_t bytes, HostSource source);
  /// Host memory must stay valid until `done(user)`, which is called even if nothing is copied.
  Status (*copyToHost)(Stream*, void* host, const void* source, size_t bytes, void (*done)(void*), void* user);

  // --- profile -----------------------------------------------------------------------------------------------
  /// While on, every operation is timed under its name and its sizes.
  Status (*profile)(Stream*, bool on);
  Status (*profileReport)(Stream*, char* json, size_t capacity, size_t* needed);  // call after a callback

  // --- operations (core/operations.def) ----------------------------------------------------------------------
  /// Whether an operation that takes these dtypes at all has code for them, and for this device.
  bool (*supports)(int32_t device, Operation operation, const DType* dtypes, int32_t count);
  /// W, the side of the folded matrices that activations of that dtype are multiplied with: R, or more where the
  /// backend computes in aligned windows (mora/windows.h). For f32 it is R.
  int64_t (*foldedSide)(SectionPlan plan, DType dtype);
#define MORA_OPERATION(name, ...) Status (*name)(Stream*, __VA_ARGS__);
#include "core/operations.def"
};

/// What a backend's library exports as `moraCudaBackend`: its table, or null with clauses without full stops that say
/// what is missing, and, where that is known, how to get it.
using CudaBackendEntry = const Backend*(char* problem, size_t problemCapacity, char* remedy, size_t remedyCapacity);

}  // namespace mora
