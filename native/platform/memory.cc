#include "platform/memory.h"

#include <algorithm>
#include <thread>

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif
#ifdef __APPLE__
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif
#ifdef __linux__
#include <sched.h>

#include "platform/cgroup.h"
#endif

namespace nvlm {

// ---- Pages ----

void* map_anonymous(std::uint64_t bytes) {
  if (bytes == 0 || bytes > SIZE_MAX) return nullptr;
#ifdef _WIN32
  return VirtualAlloc(nullptr, static_cast<std::size_t>(bytes), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
#else
  void* const memory =
      mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
#endif
}

void unmap(void* memory, std::uint64_t bytes) {
  if (memory == nullptr) return;
#ifdef _WIN32
  (void)bytes;
  VirtualFree(memory, 0, MEM_RELEASE);
#else
  munmap(memory, static_cast<std::size_t>(bytes));
#endif
}

// ---- Facts ----

#if defined(_WIN32)

std::uint64_t free_memory() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  return GlobalMemoryStatusEx(&status) ? std::min<std::uint64_t>(status.ullAvailPhys, status.ullAvailPageFile) : 0;
}

std::uint64_t total_memory() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

int usable_cpus() {
  DWORD_PTR process = 0, system = 0;
  int count = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system)) {
    for (; process != 0; process &= process - 1) ++count;
  }
  return std::max(1, count);
}

#elif defined(__APPLE__)

std::uint64_t free_memory() {
  vm_statistics64_data_t pages{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages), &count) !=
      KERN_SUCCESS)
    return 0;
  return (std::uint64_t{pages.free_count} + pages.inactive_count + pages.purgeable_count) *
         static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t total_memory() {
  std::uint64_t bytes = 0;
  std::size_t size = sizeof(bytes);
  return sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0 ? bytes : 0;
}

int usable_cpus() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

#else

std::uint64_t free_memory() {
  const auto group = cgroup::memory_left("/");
  const auto system = cgroup::meminfo_bytes("/", "MemAvailable");
  if (group && system) return std::min(*group, *system);
  return group ? *group : system.value_or(0);
}

std::uint64_t total_memory() {
  const auto group = cgroup::memory_limit("/");
  const auto system = cgroup::meminfo_bytes("/", "MemTotal");
  if (group && system) return std::min(*group, *system);
  return group ? *group : system.value_or(0);
}

int usable_cpus() {
  int count = static_cast<int>(std::thread::hardware_concurrency());
  // A mask of 1024 CPUs is the C library's default; on larger machines the call fails and the count above stands.
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) count = CPU_COUNT(&mask);
  if (const auto quota = cgroup::cpu_quota("/")) count = std::min(count, *quota);
  return std::max(1, count);
}

#endif

}  // namespace nvlm
