// The contract between the core and a device: a C table of functions over plain descriptors. No type of the standard
// library and no exception crosses it, because a backend may be a shared library that is built elsewhere.
//
// A backend executes in order on a stream. Every operation below copies its descriptors, enqueues and returns;
// operations/ has already checked shapes, dtypes and devices. A later failure on the stream is reported to the next
// callback. Memory is stream-ordered: released memory may be handed out again at once, because its next user is
// enqueued after its last.
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
  TensorDesc table;       // f32 [16] or [256]; absent if a code is its own value
  TensorDesc scales;      // [n] of a float type, or u8 codes of them
  TensorDesc zeros;       // u8 [n]; may be absent
  TensorDesc groups;      // i32 [columns]: the group of each column; if absent, column / groupSize
  TensorDesc scaleTable;  // f32 [256], and
  /// f32, if scales are codes: scale i = scaleScales[i / scalesPerScale] * scaleTable[code] + scaleOffset.
  TensorDesc scaleScales;
  CodeLayout layout;
};

// The types of parameters of core/operations.def in a backend. An absent Optional has a null `data`.
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

/// A hash of the operations, their parameters and the functions that they take; increment `layout` when the structures
/// here change.
constexpr uint32_t backendAbi(uint32_t layout) {
  constexpr char kOperations[] =
#define MORA_OPERATION(name, ...) #name "(" #__VA_ARGS__ ")"
#define MORA_ELEMENTWISE(name, operands) #name ","
#define MORA_ACTIVATION(name) #name ","
#include "core/operations.def"
      ;
  uint32_t hash = 2166136261u ^ layout;  // FNV-1a
  for (const char letter : kOperations) hash = (hash ^ static_cast<uint8_t>(letter)) * 16777619u;
  return hash;
}
constexpr uint32_t kBackendAbi = backendAbi(11);

enum class Status : int32_t { ok = 0, invalidArgument, unsupported, outOfMemory, failed };

struct Stream;  // opaque, one per device: owns its queue, its allocator and its library handles

struct MemoryFigures {
  uint64_t inUse;    // bytes handed out, plus working space
  uint64_t peak;     // highest inUse since the last reset
  uint64_t cached;   // bytes held from the system but not in use
  uint64_t limit;    // allocations past this fail; 0 is no limit
  uint64_t working;  // part of inUse that operations keep from one to the next
};

struct DeviceFacts {
  char name[256];
  uint64_t totalMemory;
  int32_t threads;       // worker threads, or multiprocessors
  int32_t fastBfloat16;  // 1 where bf16 products are faster than f32
  int32_t int8Products;  // 1 if matmulInt8 is available
  char detail[512];      // instruction sets, compute capability
};

/// The first error of the stream, with the operation's name; message is empty if there was none.
struct StreamError {
  Status status;
  char operation[64];
  char message[448];
};

/// Bytes of the host: memory or a file.
struct HostSource {
  /// Writes bytes [offset, offset + bytes) to `to`. Called for one part after the other, or for several at the same
  /// time on threads of the backend. Returns null, or an error: a sentence without its full stop, valid until `done`.
  const char* (*read)(void* user, void* to, size_t offset, size_t bytes);
  /// Called after the last read, even if there was none.
  void (*done)(void* user);
  void* user;
};

struct Backend {
  uint32_t abi;  // kBackendAbi
  const char* name;

  // --- device and stream -------------------------------------------------------------------------------------
  int32_t (*deviceCount)();
  Status (*deviceFacts)(int32_t device, DeviceFacts* facts);
  /// On failure, writes a sentence without its full stop to `why`.
  Status (*streamCreate)(int32_t device, int32_t threads, Stream** stream, char* why, size_t capacity);
  Status (*setThreads)(Stream*, int32_t threads);
  /// Whether f32 products enqueued from here on may round their inputs to TF32 (10 bits of fraction). Off at first; no
  /// effect on devices without TF32.
  Status (*setAllowTf32)(Stream*, bool allow);
  /// Whether products of few rows that are enqueued from here on sum each row as if it were alone, so that its result
  /// does not depend on the others. Off at first; no effect on GPUs.
  Status (*setRowsAlone)(Stream*, bool alone);
  uint64_t (*queueDepth)(Stream*);  // operations that are not finished
  /// Calls `done(user, error)` from a thread of the backend once everything before it is done, then forgets the error.
  Status (*callback)(Stream*, void (*done)(void* user, const StreamError* error), void* user);
  /// Why the device is lost and every call fails from here on; status ok otherwise.
  StreamError (*failure)(Stream*);
  /// Drops operations that have not started, waits for the running one, and refuses further work. Called when the
  /// process ends.
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
  /// While on, times every operation under its name and sizes.
  Status (*profile)(Stream*, bool on);
  Status (*profileReport)(Stream*, char* json, size_t capacity, size_t* needed);  // call after a callback

  // --- operations (core/operations.def) ----------------------------------------------------------------------
  /// Whether an operation that accepts these dtypes is implemented for them, and for this device.
  bool (*supports)(int32_t device, Operation operation, const DType* dtypes, int32_t count);
  /// W, the side of the folded matrices for activations of `dtype`: R, or more if the backend computes in aligned
  /// windows (mora/windows.h). R for f32.
  int64_t (*foldedSide)(SectionPlan plan, DType dtype);
#define MORA_OPERATION(name, ...) Status (*name)(Stream*, __VA_ARGS__);
#include "core/operations.def"
};

/// The function that a backend's library exports as `moraCudaBackend`. Returns its table, or null with clauses without
/// full stops: what is missing, and how to get it if known.
using CudaBackendEntry = const Backend*(char* problem, size_t problemCapacity, char* remedy, size_t remedyCapacity);

}  // namespace mora
