// A CUDA driver and run time of two devices whose memory is the host's: copies are carried out, kernels are not.
//
// Loaded by Python code in the place of libcuda.so.1, and put in the place of the run time that CuPy's extension modules contain. What is real here:
// addresses and the device that owns them, the current device of each thread, the limits of a launch, and counts. What is
// not: numbers that kernels would compute, order on streams, NCCL.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))
// A function of the run time, found by the patcher under this prefix.
#define RUNTIME(name, ...) EXPORT cudaError_t stand_in_##name(__VA_ARGS__)

namespace {

constexpr int DEVICES = 2;
constexpr std::size_t MEMORY = std::size_t(80) << 30;  // what a device claims to have
constexpr std::size_t ALIGNMENT = 512;

thread_local int current = 0;
std::mutex guard;
std::map<std::uintptr_t, std::pair<std::size_t, int>> allocations;  // begin -> size, device
std::atomic<long long> next_handle{0x1000};

// In the order of `COUNTERS` in dry_run.py.
enum Counter { LAUNCHES, TO_DEVICE, TO_HOST, ON_DEVICE, FILLS, SYNCHRONIZATIONS, ALLOCATIONS, NUM_COUNTERS };
std::atomic<long long> counters[NUM_COUNTERS];

std::vector<std::string> function_names;
std::vector<long long> function_launches;

template <typename Handle>
Handle new_handle() {
  return reinterpret_cast<Handle>(static_cast<std::uintptr_t>(next_handle += 16));
}

int device_of(std::uintptr_t address) {
  auto above = allocations.upper_bound(address);
  if (above == allocations.begin()) return -1;
  --above;
  return address < above->first + above->second.first ? above->second.second : -1;
}

void* allocate(std::size_t size, int device) {
  const std::size_t whole = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + ALIGNMENT;
  void* memory = std::aligned_alloc(ALIGNMENT, whole);
  // Zeros: kernels that would write here do not run, and indices read from here must be harmless.
  if (memory) std::memset(memory, 0, whole);
  std::lock_guard<std::mutex> lock(guard);
  if (device >= 0) allocations[reinterpret_cast<std::uintptr_t>(memory)] = {whole, device};
  return memory;
}

cudaError_t release(void* memory) {
  if (!memory) return cudaSuccess;
  std::lock_guard<std::mutex> lock(guard);
  if (!allocations.erase(reinterpret_cast<std::uintptr_t>(memory))) return cudaErrorInvalidValue;
  std::free(memory);
  return cudaSuccess;
}

cudaError_t copy(void* target, const void* source, std::size_t size, cudaMemcpyKind kind) {
  counters[kind == cudaMemcpyHostToDevice ? TO_DEVICE : kind == cudaMemcpyDeviceToHost ? TO_HOST : ON_DEVICE]++;
  std::memmove(target, source, size);
  return cudaSuccess;
}

cudaError_t synchronize() {
  counters[SYNCHRONIZATIONS]++;
  return cudaSuccess;
}

bool is_launchable(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, std::size_t shared) {
  const unsigned long long threads = 1ULL * bx * by * bz;
  return gx && gy && gz && gx <= 2147483647u && gy <= 65535u && gz <= 65535u && threads && threads <= 1024 &&
         bz <= 64 && shared <= 48 * 1024;
}

}  // namespace

// What Python asks -----------------------------------------------------------------------------------------------------

EXPORT void dry_run_counters(long long* into) {
  for (int i = 0; i < NUM_COUNTERS; ++i) into[i] = counters[i];
}

EXPORT void dry_run_reset() {
  for (auto& counter : counters) counter = 0;
  for (auto& count : function_launches) count = 0;
}

EXPORT int dry_run_functions() { return static_cast<int>(function_names.size()); }
EXPORT const char* dry_run_name(int i) { return function_names[i].c_str(); }
EXPORT long long dry_run_launches(int i) { return function_launches[i]; }
EXPORT int dry_run_device_of(std::uintptr_t address) {
  std::lock_guard<std::mutex> lock(guard);
  return device_of(address);
}

// The run time ---------------------------------------------------------------------------------------------------------

// For what is not written below: CuPy reports it by the name of the call that it made.
EXPORT cudaError_t stand_in_missing() { return cudaErrorNotSupported; }
EXPORT cudaError_t stand_in_success() { return cudaSuccess; }

RUNTIME(cudaGetDeviceCount, int* count) { return *count = DEVICES, cudaSuccess; }
RUNTIME(cudaGetDevice, int* device) { return *device = current, cudaSuccess; }
RUNTIME(cudaSetDevice, int device) {
  if (device < 0 || device >= DEVICES) return cudaErrorInvalidDevice;
  return current = device, cudaSuccess;
}
RUNTIME(cudaDriverGetVersion, int* version) { return *version = CUDART_VERSION, cudaSuccess; }
RUNTIME(cudaRuntimeGetVersion, int* version) { return *version = CUDART_VERSION, cudaSuccess; }

RUNTIME(cudaDeviceGetAttribute, int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMaxThreadsPerBlock: case cudaDevAttrMaxBlockDimX: case cudaDevAttrMaxBlockDimY: *value = 1024; break;
    case cudaDevAttrMaxBlockDimZ: *value = 64; break;
    case cudaDevAttrMaxGridDimX: *value = 2147483647; break;
    case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: *value = 65535; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = 49152; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 232448; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = 233472; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrMultiProcessorCount: *value = 132; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = 32; break;
    case cudaDevAttrMaxRegistersPerBlock: case cudaDevAttrMaxRegistersPerMultiprocessor: *value = 65536; break;
    case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
    default: *value = 0;
  }
  return cudaSuccess;
}

RUNTIME(cudaGetDeviceProperties, cudaDeviceProp* properties, int) {
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "dry run");
  properties->major = 9;
  properties->maxThreadsPerBlock = 1024;
  properties->multiProcessorCount = 132;
  properties->warpSize = 32;
  properties->sharedMemPerBlock = 49152;
  properties->totalGlobalMem = MEMORY;
  properties->maxGridSize[0] = 2147483647;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  return cudaSuccess;
}

RUNTIME(cudaMemGetInfo, std::size_t* available, std::size_t* total) {
  *available = *total = MEMORY;
  return cudaSuccess;
}
// Nothing reaches another device's memory: CuPy then refuses arrays that are not on the current device.
RUNTIME(cudaDeviceCanAccessPeer, int* answer, int, int) { return *answer = 0, cudaSuccess; }

RUNTIME(cudaMalloc, void** memory, std::size_t size) {
  counters[ALLOCATIONS]++;
  *memory = size > MEMORY ? nullptr : allocate(size, current);
  return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
RUNTIME(cudaMallocAsync, void** memory, std::size_t size, cudaStream_t) { return stand_in_cudaMalloc(memory, size); }
RUNTIME(cudaFree, void* memory) { return release(memory); }
RUNTIME(cudaFreeAsync, void* memory, cudaStream_t) { return release(memory); }
RUNTIME(cudaHostAlloc, void** memory, std::size_t size, unsigned) {
  return *memory = allocate(size, -1), cudaSuccess;
}
RUNTIME(cudaFreeHost, void* memory) { return std::free(memory), cudaSuccess; }

RUNTIME(cudaMemcpy, void* target, const void* source, std::size_t size, cudaMemcpyKind kind) {
  counters[SYNCHRONIZATIONS]++;
  return copy(target, source, size, kind);
}
RUNTIME(cudaMemcpyAsync, void* target, const void* source, std::size_t size, cudaMemcpyKind kind, cudaStream_t) {
  return copy(target, source, size, kind);
}
RUNTIME(cudaMemcpyPeer, void* target, int, const void* source, int, std::size_t size) {
  return copy(target, source, size, cudaMemcpyDeviceToDevice);
}
RUNTIME(cudaMemcpyPeerAsync, void* target, int, const void* source, int, std::size_t size, cudaStream_t) {
  return copy(target, source, size, cudaMemcpyDeviceToDevice);
}
RUNTIME(cudaMemset, void* target, int value, std::size_t size) {
  counters[FILLS]++;
  std::memset(target, value, size);
  return cudaSuccess;
}
RUNTIME(cudaMemsetAsync, void* target, int value, std::size_t size, cudaStream_t) {
  return stand_in_cudaMemset(target, value, size);
}
RUNTIME(cudaPointerGetAttributes, cudaPointerAttributes* found, const void* memory) {
  std::lock_guard<std::mutex> lock(guard);
  std::memset(found, 0, sizeof *found);
  const int device = device_of(reinterpret_cast<std::uintptr_t>(memory));
  found->type = device < 0 ? cudaMemoryTypeUnregistered : cudaMemoryTypeDevice;
  found->device = device < 0 ? current : device;
  found->devicePointer = const_cast<void*>(memory);
  return cudaSuccess;
}

RUNTIME(cudaStreamCreate, cudaStream_t* stream) { return *stream = new_handle<cudaStream_t>(), cudaSuccess; }
RUNTIME(cudaStreamCreateWithFlags, cudaStream_t* stream, unsigned) { return stand_in_cudaStreamCreate(stream); }
RUNTIME(cudaStreamCreateWithPriority, cudaStream_t* stream, unsigned, int) { return stand_in_cudaStreamCreate(stream); }
RUNTIME(cudaStreamIsCapturing, cudaStream_t, cudaStreamCaptureStatus* status) {
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}
RUNTIME(cudaEventCreate, cudaEvent_t* event) { return *event = new_handle<cudaEvent_t>(), cudaSuccess; }
RUNTIME(cudaEventCreateWithFlags, cudaEvent_t* event, unsigned) { return stand_in_cudaEventCreate(event); }
RUNTIME(cudaEventElapsedTime, float* milliseconds, cudaEvent_t, cudaEvent_t) {
  return *milliseconds = 1.0f, cudaSuccess;
}
RUNTIME(cudaStreamSynchronize, cudaStream_t) { return synchronize(); }
RUNTIME(cudaDeviceSynchronize) { return synchronize(); }
RUNTIME(cudaEventSynchronize, cudaEvent_t) { return synchronize(); }

RUNTIME(cudaFuncGetAttributes, cudaFuncAttributes* found, const void*) {
  std::memset(found, 0, sizeof *found);
  found->ptxVersion = found->binaryVersion = 90;
  found->maxThreadsPerBlock = 1024;
  found->numRegs = 32;
  return cudaSuccess;
}
RUNTIME(cudaOccupancyMaxActiveBlocksPerMultiprocessor, int* blocks, const void*, int, std::size_t) {
  return *blocks = 4, cudaSuccess;
}
RUNTIME(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, int* blocks, const void*, int, std::size_t, unsigned) {
  return *blocks = 4, cudaSuccess;
}
// Kernels that are compiled into CuPy (CUB, Thrust).
RUNTIME(cudaLaunchKernel, const void*, dim3 grid, dim3 block, void**, std::size_t shared, cudaStream_t) {
  if (!is_launchable(grid.x, grid.y, grid.z, block.x, block.y, block.z, shared)) return cudaErrorInvalidConfiguration;
  return counters[LAUNCHES]++, cudaSuccess;
}
RUNTIME(cudaLaunchKernelExC, const cudaLaunchConfig_t* config, const void*, void**) {
  return stand_in_cudaLaunchKernel(nullptr, config->gridDim, config->blockDim, nullptr, config->dynamicSmemBytes, nullptr);
}
EXPORT cudaError_t stand_in___cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared, void* stream) {
  *grid = *block = dim3{1, 1, 1};
  *shared = 0;
  *static_cast<void**>(stream) = nullptr;
  return cudaSuccess;
}
RUNTIME(cudaDeviceGetDefaultMemPool, cudaMemPool_t* pool, int) {
  return *pool = new_handle<cudaMemPool_t>(), cudaSuccess;
}
EXPORT const char* stand_in_cudaGetErrorName(cudaError_t) { return "dryRunError"; }
EXPORT const char* stand_in_cudaGetErrorString(cudaError_t) { return "not possible in a dry run"; }

// The driver -----------------------------------------------------------------------------------------------------------

#undef cuModuleGetGlobal
EXPORT CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
EXPORT CUresult cuDeviceGetCount(int* count) { return *count = DEVICES, CUDA_SUCCESS; }
EXPORT CUresult cuDriverGetVersion(int* version) { return *version = CUDART_VERSION, CUDA_SUCCESS; }
EXPORT CUresult cuGetErrorName(CUresult, const char** text) { return *text = "dryRunError", CUDA_SUCCESS; }
EXPORT CUresult cuGetErrorString(CUresult, const char** text) {
  return *text = "not possible in a dry run", CUDA_SUCCESS;
}
EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
  return *context = reinterpret_cast<CUcontext>(static_cast<std::uintptr_t>(0x500 + current)), CUDA_SUCCESS;
}
EXPORT CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
EXPORT CUresult cuCtxGetDevice(CUdevice* device) { return *device = current, CUDA_SUCCESS; }
EXPORT CUresult cuModuleLoadData(CUmodule* module, const void*) {
  return *module = new_handle<CUmodule>(), CUDA_SUCCESS;
}
EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void*, unsigned, CUjit_option*, void**) {
  return *module = new_handle<CUmodule>(), CUDA_SUCCESS;
}
EXPORT CUresult cuModuleLoad(CUmodule* module, const char*) { return *module = new_handle<CUmodule>(), CUDA_SUCCESS; }
EXPORT CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
EXPORT CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  std::lock_guard<std::mutex> lock(guard);
  function_names.emplace_back(name);
  function_launches.push_back(0);
  *function = reinterpret_cast<CUfunction>(function_names.size());  // its place, counted from 1
  return CUDA_SUCCESS;
}
EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, std::size_t* size, CUmodule, const char*) {
  static unsigned char memory[32768];
  *address = reinterpret_cast<CUdeviceptr>(memory);
  *size = sizeof memory;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction) {
  return *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 32, CUDA_SUCCESS;
}
EXPORT CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
EXPORT CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction, CUoccupancyB2DSize, std::size_t, int) {
  *grid = 264;
  *block = 256;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction, int, std::size_t) {
  return *blocks = 4, CUDA_SUCCESS;
}
EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                               unsigned bz, unsigned shared, CUstream, void**, void**) {
  if (!is_launchable(gx, gy, gz, bx, by, bz, shared)) return CUDA_ERROR_INVALID_VALUE;
  counters[LAUNCHES]++;
  std::lock_guard<std::mutex> lock(guard);
  function_launches[reinterpret_cast<std::uintptr_t>(function) - 1]++;
  return CUDA_SUCCESS;
}
EXPORT CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                          unsigned by, unsigned bz, unsigned shared, CUstream stream, void** arguments) {
  return cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, stream, arguments, nullptr);
}
EXPORT CUresult cuLinkComplete(CUlinkState, void**, std::size_t*) { return CUDA_ERROR_NOT_SUPPORTED; }
EXPORT CUresult cuLinkDestroy(CUlinkState) { return CUDA_SUCCESS; }
EXPORT CUresult cuStreamGetCtx(CUstream, CUcontext* context) { return cuCtxGetCurrent(context); }
