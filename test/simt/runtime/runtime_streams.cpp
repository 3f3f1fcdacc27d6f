// The runtime's functions about streams, events and callbacks.
#include "simt/runtime/errors.h"
#include "simt/runtime/injected_faults.h"
#include "simt/runtime/streams.h"

using simt::failed;

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  SIMT_ANSWER_FAULT();
  *stream = simt::createStream(simt::currentDevice());
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  simt::destroyStream(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  SIMT_ANSWER_FAULT();
  simt::waitForStream(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return simt::finished(stream) ? cudaSuccess : cudaErrorNotReady; }

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  SIMT_ANSWER_FAULT();
  simt::enqueue(stream, {[] {}, event->record});
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  SIMT_ANSWER_FAULT();
  *event = new CUevent_st;
  return cudaSuccess;
}

/// Work that waits for the event's last record keeps the record.
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  SIMT_ANSWER_FAULT();
  simt::record(stream, event);
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  SIMT_ANSWER_FAULT();
  simt::waitForEvent(event);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) { return simt::finished(event) ? cudaSuccess : cudaErrorNotReady; }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  SIMT_ANSWER_FAULT();
  if (!simt::finished(start) || !simt::finished(end)) return failed(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(end->record->time - start->record->time).count();
  return cudaSuccess;
}

/// Exported for libraries with a runtime of their own, such as stubs/nccl.cpp.
__attribute__((visibility("default"))) cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* userData) {
  SIMT_ANSWER_FAULT();
  simt::enqueue(stream, {[=] { function(userData); }, nullptr});
  return cudaSuccess;
}
