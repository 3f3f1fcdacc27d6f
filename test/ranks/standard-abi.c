// An MPI library with the binary interface of the standard (MPI 5.0, chapter "Application Binary Interface"), as far as
// ranks use it, which asks Open MPI for everything. A handle that is not the standard's is an error.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void* Handle;

static void* library;

static void* found(const char* name) {
  if (!library) library = dlopen("libmpi.so.40", RTLD_NOW | RTLD_LOCAL);
  void* const address = library ? dlsym(library, name) : NULL;
  if (!address) {
    fprintf(stderr, "standard-abi: no %s\n", name);
    exit(70);
  }
  return address;
}

struct Name {
  intptr_t value;
  const char* object;
};

static const struct Name kComms[] = {{0x101, "ompi_mpi_comm_world"}, {0, NULL}};
static const struct Name kTypes[] = {
    {0x210, "ompi_mpi_float"}, {0x214, "ompi_mpi_double"}, {0x247, "ompi_mpi_byte"}, {0, NULL}};
static const struct Name kOperations[] = {{0x21, "ompi_mpi_op_sum"}, {0x23, "ompi_mpi_op_max"}, {0, NULL}};
static const struct Name kErrorHandlers[] = {{0x143, "ompi_mpi_errors_return"}, {0, NULL}};

// Those that this library gave are pointers, which its callers pass as they are.
static Handle from(const struct Name* names, Handle given, int mayBeOurs) {
  for (; names->object; ++names)
    if ((intptr_t)given == names->value) return found(names->object);
  if (mayBeOurs && (intptr_t)given > 0x1000) return given;
  fprintf(stderr, "standard-abi: unknown handle %p\n", given);
  exit(71);
}

#define COMM(given) from(kComms, given, 1)
#define TYPE(given) from(kTypes, given, 0)
#define OPERATION(given) from(kOperations, given, 0)
#define CALL(name, ...) ((int (*)())found(#name))(__VA_ARGS__)

int MPI_Abi_get_version(int* major, int* minor) {
  *major = 1;
  *minor = 0;
  return 0;
}

int MPI_Get_library_version(char* version, int* length) {
  strcpy(version, "Stand-in 1.2.3 with the standard ABI");
  *length = (int)strlen(version);
  return 0;
}

// Levels are 0, 1024, 2048, 4096, and Open MPI's 0 to 3.
int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  int level = 0, granted = 0;
  if (required != 0 && required != 1024 && required != 2048 && required != 4096) exit(72);
  for (int known = 1024; known <= required; known *= 2) ++level;
  const int result = CALL(MPI_Init_thread, argc, argv, level, &granted);
  *provided = granted == 0 ? 0 : 512 << granted;
  return result;
}

int MPI_Comm_dup(Handle comm, Handle* made) { return CALL(MPI_Comm_dup, COMM(comm), made); }
int MPI_Comm_rank(Handle comm, int* rank) { return CALL(MPI_Comm_rank, COMM(comm), rank); }
int MPI_Comm_size(Handle comm, int* size) { return CALL(MPI_Comm_size, COMM(comm), size); }
int MPI_Comm_set_errhandler(Handle comm, Handle handler) {
  return CALL(MPI_Comm_set_errhandler, COMM(comm), from(kErrorHandlers, handler, 0));
}
int MPI_Iallreduce(const void* in, void* out, int count, Handle type, Handle operation, Handle comm, Handle* request) {
  return CALL(MPI_Iallreduce, in, out, count, TYPE(type), OPERATION(operation), COMM(comm), request);
}
int MPI_Ibcast(void* bytes, int count, Handle type, int root, Handle comm, Handle* request) {
  return CALL(MPI_Ibcast, bytes, count, TYPE(type), root, COMM(comm), request);
}
int MPI_Iallgather(const void* in, int count, Handle type, void* out, int outCount, Handle outType, Handle comm,
                   Handle* request) {
  return CALL(MPI_Iallgather, in, count, TYPE(type), out, outCount, TYPE(outType), COMM(comm), request);
}
int MPI_Isend(const void* bytes, int count, Handle type, int to, int tag, Handle comm, Handle* request) {
  return CALL(MPI_Isend, bytes, count, TYPE(type), to, tag, COMM(comm), request);
}
int MPI_Irecv(void* bytes, int count, Handle type, int source, int tag, Handle comm, Handle* request) {
  return CALL(MPI_Irecv, bytes, count, TYPE(type), source, tag, COMM(comm), request);
}
int MPI_Test(Handle* request, int* done, void* status) {
  if (status) exit(73);  // MPI_STATUS_IGNORE is null
  return CALL(MPI_Test, request, done, NULL);
}
int MPI_Error_string(int code, char* text, int* length) { return CALL(MPI_Error_string, code, text, length); }
int MPI_Abort(Handle comm, int code) { return CALL(MPI_Abort, COMM(comm), code); }
int MPI_Finalize(void) { return CALL(MPI_Finalize); }
