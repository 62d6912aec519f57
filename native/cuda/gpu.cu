// The runtime calls of gpu.h over CUDA's runtime (linked statically: the library needs only the driver).
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "cuda/gpu.h"
#include "platform/dynamic_library.h"

namespace nvlm::gpu {
namespace {

// No std::string: its destructor at the thread's end would keep the library open until then.
thread_local char last_message[256];

Status status_of(cudaError_t error) {
  if (error == cudaSuccess) return Status::ok;
  std::snprintf(last_message, sizeof last_message, "%s: %s", cudaGetErrorName(error), cudaGetErrorString(error));
  cudaGetLastError();  // forgets it, unless it sticks
  switch (error) {
    case cudaErrorMemoryAllocation: return Status::out_of_memory;
    case cudaErrorNoDevice: return Status::no_device;
    case cudaErrorInsufficientDriver:
    case cudaErrorCompatNotSupportedOnDevice: return Status::driver_too_old;
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidKernelImage:
    case cudaErrorUnsupportedPtxVersion: return Status::no_kernel;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorInvalidDevice:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated: return Status::invalid;
    default: return Status::fault;
  }
}

Status pool(cudaMemPool_t* memory_pool) {
  int device = 0;
  if (const Status status = status_of(cudaGetDevice(&device)); status != Status::ok) return status;
  return status_of(cudaDeviceGetDefaultMemPool(memory_pool, device));
}

}  // namespace

const char* message() { return last_message; }

// ---- Devices ----

Status device_count(int* count) { return status_of(cudaGetDeviceCount(count)); }

Status device_info(int device, DeviceInfo* info) {
  cudaDeviceProp p;
  if (const Status status = status_of(cudaGetDeviceProperties(&p, device)); status != Status::ok) return status;
  *info = {};
  std::strncpy(info->name, p.name, sizeof info->name - 1);
  info->major = p.major;
  info->minor = p.minor;
  info->multiprocessors = p.multiProcessorCount;
  info->shared_per_block = static_cast<int>(p.sharedMemPerBlockOptin);
  info->l2_bytes = p.l2CacheSize;
  info->memory = p.totalGlobalMem;
  info->pci_domain = p.pciDomainID;
  info->pci_bus = p.pciBusID;
  info->pci_device = p.pciDeviceID;
  return Status::ok;
}

Status driver_version(int* version) { return status_of(cudaDriverGetVersion(version)); }

Status use_device(int device) { return status_of(cudaSetDevice(device)); }
Status current_device(int* device) { return status_of(cudaGetDevice(device)); }
void keep_loaded() { DynamicLibrary::keep(reinterpret_cast<const void*>(&keep_loaded)); }

Status memory_info(uint64_t* free, uint64_t* total) {
  size_t free_bytes = 0, total_bytes = 0;
  const Status status = status_of(cudaMemGetInfo(&free_bytes, &total_bytes));
  *free = free_bytes;
  *total = total_bytes;
  return status;
}

// ---- Memory ----

Status keep_freed_memory() {
  cudaMemPool_t memory_pool;
  if (const Status status = pool(&memory_pool); status != Status::ok) return status;
  uint64_t most = UINT64_MAX;
  return status_of(cudaMemPoolSetAttribute(memory_pool, cudaMemPoolAttrReleaseThreshold, &most));
}

Status alloc(void** memory, uint64_t bytes, Stream stream) {
  return status_of(cudaMallocAsync(memory, bytes ? bytes : 1, stream));
}
Status free(void* memory, Stream stream) { return status_of(cudaFreeAsync(memory, stream)); }

Status trim() {
  cudaMemPool_t memory_pool;
  if (const Status status = pool(&memory_pool); status != Status::ok) return status;
  return status_of(cudaMemPoolTrimTo(memory_pool, 0));
}

Status alloc_pinned(void** memory, uint64_t bytes) { return status_of(cudaMallocHost(memory, bytes ? bytes : 1)); }
Status free_pinned(void* memory) { return status_of(cudaFreeHost(memory)); }

// ---- Streams and events ----

Status create_stream(Stream* stream) { return status_of(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking)); }
Status destroy_stream(Stream stream) { return status_of(cudaStreamDestroy(stream)); }
Status wait(Stream stream) { return status_of(cudaStreamSynchronize(stream)); }
Status create_event(Event* event, bool timing) {
  return status_of(cudaEventCreateWithFlags(event, timing ? cudaEventDefault : cudaEventDisableTiming));
}
Status destroy_event(Event event) { return status_of(cudaEventDestroy(event)); }
Status record(Event event, Stream stream) { return status_of(cudaEventRecord(event, stream)); }
Status wait_for(Event event) { return status_of(cudaEventSynchronize(event)); }
Status follow(Stream stream, Event event) { return status_of(cudaStreamWaitEvent(stream, event, 0)); }

Status elapsed(Event from, Event to, float* milliseconds) {
  return status_of(cudaEventElapsedTime(milliseconds, from, to));
}

// ---- Copies ----

Status copy_to_device(void* device, const void* pinned, uint64_t bytes, Stream stream) {
  return status_of(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream));
}
Status copy_to_host(void* pinned, const void* device, uint64_t bytes, Stream stream) {
  return status_of(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, stream));
}
Status copy_on_device(void* to, const void* from, uint64_t bytes, Stream stream) {
  return status_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}
Status fill(void* device, int byte, uint64_t bytes, Stream stream) {
  return status_of(cudaMemsetAsync(device, byte, bytes, stream));
}

// ---- Graphs ----

Status begin_capture(Stream stream) {
  return status_of(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
}

Status end_capture(Stream stream, Graph* graph) {
  cudaGraph_t recorded = nullptr;
  if (const Status status = status_of(cudaStreamEndCapture(stream, &recorded)); status != Status::ok) return status;
  const Status status = status_of(cudaGraphInstantiate(graph, recorded, 0));
  cudaGraphDestroy(recorded);
  return status;
}

Status run_graph(Graph graph, Stream stream) { return status_of(cudaGraphLaunch(graph, stream)); }
Status destroy_graph(Graph graph) { return status_of(cudaGraphExecDestroy(graph)); }

// ---- Launching ----

Status detail::set_shared_limit(const void* kernel, uint32_t bytes) {
  return status_of(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

namespace {

// Whether the code of a dependent kernel that runs on the current device has its waits: made from compute_80 PTX, for
// an older GPU or by the driver for one that is newer than this library, it has none. Asked once per kernel and device.
Status has_waits(const void* kernel, bool* has) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, bool> known;
  int device = 0;
  if (const Status status = status_of(cudaGetDevice(&device)); status != Status::ok) return status;
  const std::lock_guard lock(mutex);
  auto found = known.find({kernel, device});
  if (found == known.end()) {
    cudaFuncAttributes attributes;
    if (const Status status = status_of(cudaFuncGetAttributes(&attributes, kernel)); status != Status::ok)
      return status;
    found = known.emplace(std::pair{kernel, device}, attributes.ptxVersion >= 90).first;
  }
  *has = found->second;
  return Status::ok;
}

}  // namespace

Status detail::launch(const void* kernel, void (*)(const void*, const void*), const Launch& shape, const void* args,
                      size_t) {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  bool waits = false;
  if (shape.dependent) {
    if (const Status status = has_waits(kernel, &waits); status != Status::ok) return status;
  }
  if (waits) {
    cudaLaunchAttribute& overlap = attributes[config.numAttrs++];
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster > 1) {
    cudaLaunchAttribute& cluster = attributes[config.numAttrs++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = shape.cluster;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  }
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = shape.stream;
  void* arguments[] = {const_cast<void*>(args)};
  return status_of(cudaLaunchKernelExC(&config, kernel, arguments));
}

}  // namespace nvlm::gpu
