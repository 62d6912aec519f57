// Memory and CPU facts: control groups of both versions from file trees made here, and pages from the real system. The
// thread pool: each index once, on no more threads than asked for, whatever a body throws.
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "platform/cgroup.h"
#include "platform/memory.h"
#include "platform/thread_pool.h"
#include "support/check.h"
#include "support/scratch_folder.h"

using namespace nvlm;
using namespace nvlm::test;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

std::string mib(std::uint64_t n) { return std::to_string(n * kMiB) + "\n"; }

template <typename T>
std::string shown(const std::optional<T>& value) {
  return value ? std::to_string(*value) : "nothing";
}

void version_2() {
  const ScratchFolder scratch("cgroup2");
  const std::string root = scratch.path() + "/";
  scratch.write("proc/self/cgroup", "1:name=systemd:/other\n0::/outer/inner\n");
  scratch.write("proc/meminfo", "MemTotal:       16384 kB\nMemFree:         1 kB\nMemAvailable:    8192 kB\n");
  test::equal(shown(cgroup::memory_limit(root)), std::string("nothing"), "no limit files");
  test::equal(shown(cgroup::memory_left(root)), std::string("nothing"), "no usage files");
  test::equal(shown(cgroup::cpu_quota(root)), std::string("nothing"), "no quota file");
  test::equal(shown(cgroup::meminfo_bytes(root, "MemAvailable")), std::to_string(8 * kMiB), "MemAvailable");
  test::equal(shown(cgroup::meminfo_bytes(root, "Mem")), std::string("nothing"), "a key is matched whole");

  const std::string group = "sys/fs/cgroup/outer/inner/";
  scratch.write(group + "memory.max", "max\n");
  scratch.write(group + "memory.current", mib(300));
  scratch.write(group + "cpu.max", "max 100000\n");
  test::equal(shown(cgroup::memory_limit(root)), std::string("nothing"), "max is no limit");
  test::equal(shown(cgroup::cpu_quota(root)), std::string("nothing"), "max is no quota");

  scratch.write(group + "memory.max", mib(1000));
  scratch.write(group + "memory.stat", "anon 1\ninactive_file " + mib(100) + "active_file 7\n");
  test::equal(shown(cgroup::memory_limit(root)), std::to_string(1000 * kMiB), "limit");
  test::equal(shown(cgroup::memory_left(root)), std::to_string(800 * kMiB),
              "limit less usage, inactive cache not counted");
  scratch.write(group + "memory.current", mib(2000));
  test::equal(shown(cgroup::memory_left(root)), std::string("0"), "usage above the limit leaves nothing");
  scratch.write(group + "memory.current", mib(50));
  test::equal(shown(cgroup::memory_left(root)), std::to_string(1000 * kMiB), "more cache than usage");

  scratch.write("sys/fs/cgroup/outer/memory.max", mib(600));
  scratch.write("sys/fs/cgroup/outer/memory.current", mib(500));
  test::equal(shown(cgroup::memory_limit(root)), std::to_string(600 * kMiB), "the parent's lower limit");
  test::equal(shown(cgroup::memory_left(root)), std::to_string(100 * kMiB), "the parent has less left");

  scratch.write(group + "cpu.max", "250000 100000\n");
  test::equal(shown(cgroup::cpu_quota(root)), std::string("3"), "a quota of 2.5 is rounded up");
  scratch.write("sys/fs/cgroup/outer/cpu.max", "50000 100000\n");
  test::equal(shown(cgroup::cpu_quota(root)), std::string("1"), "the parent's quota of a half");
}

void version_1() {
  const ScratchFolder scratch("cgroup1");
  const std::string root = scratch.path() + "/";
  // In a container the path is the host's: it does not exist below the mount, and the mount itself is the group.
  scratch.write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n");
  scratch.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  scratch.write("sys/fs/cgroup/memory/memory.usage_in_bytes", mib(300));
  scratch.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  scratch.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  test::equal(shown(cgroup::memory_limit(root)), std::string("nothing"), "the number near 2^63 is no limit");
  test::equal(shown(cgroup::cpu_quota(root)), std::string("nothing"), "-1 is no quota");
  scratch.write("sys/fs/cgroup/memory/memory.limit_in_bytes", mib(512));
  scratch.write("sys/fs/cgroup/memory/memory.stat", "inactive_file 5\ntotal_inactive_file " + mib(44));
  scratch.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  test::equal(shown(cgroup::memory_limit(root)), std::to_string(512 * kMiB), "limit");
  test::equal(shown(cgroup::memory_left(root)), std::to_string(256 * kMiB), "left");
  test::equal(shown(cgroup::cpu_quota(root)), std::string("2"), "quota");
  scratch.write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", mib(100));
  scratch.write("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", mib(60));
  test::equal(shown(cgroup::memory_left(root)), std::to_string(40 * kMiB), "the group of its own has less left");
}

void no_files_at_all() {
  const ScratchFolder scratch("nothing");
  const std::string root = scratch.path() + "/";
  test::equal(shown(cgroup::memory_limit(root)) + shown(cgroup::memory_left(root)) + shown(cgroup::cpu_quota(root)) +
                  shown(cgroup::meminfo_bytes(root, "MemTotal")),
              std::string("nothingnothingnothingnothing"), "no files");
  scratch.write("proc/self/cgroup", "garbage\n:\n0:\n0::no-slash\n");
  scratch.write("sys/fs/cgroup/cpu.max", "x y");
  test::equal(shown(cgroup::cpu_quota(root)), std::string("nothing"), "garbage");
}

void this_machine() {
  const std::uint64_t total = total_memory(), left = free_memory();
  check(total >= 64 * kMiB, "total memory " + std::to_string(total));
  check(left > 0 && left <= total, "free memory " + std::to_string(left) + " of " + std::to_string(total));
  check(usable_cpus() >= 1 && usable_cpus() <= 4096, "usable CPUs " + std::to_string(usable_cpus()));
}

void pages() {
  constexpr std::uint64_t bytes = 3 * kMiB + 5;
  auto* memory = static_cast<unsigned char*>(map_anonymous(bytes));
  if (!check(memory != nullptr, "pages")) return;
  test::equal(reinterpret_cast<std::uintptr_t>(memory) % 4096, std::uintptr_t{0}, "alignment");
  bool zero = true;
  for (std::uint64_t i = 0; i < bytes; ++i) zero = zero && memory[i] == 0;
  check(zero, "pages are zero");
  std::memset(memory, 1, bytes);
  unmap(memory, bytes);
  check(map_anonymous(0) == nullptr, "no bytes, no pages");
  check(map_anonymous(std::uint64_t{1} << 62) == nullptr, "more than there is");
  unmap(nullptr, 0);
}

void thread_pool() {
  const auto pool = ThreadPool::acquire(4);
  check(pool == ThreadPool::acquire(2), "one pool for the process");
  std::atomic<int> inside{0}, most{0};
  std::vector<std::atomic<int>> times(1000);
  pool->run(1000, 2, [&](int64_t i) {
    const int now = ++inside;
    int seen = most.load();
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    ++times[static_cast<size_t>(i)];
    std::this_thread::yield();
    --inside;
  });
  bool once = true;
  for (const auto& t : times) once = once && t == 1;
  check(once, "each index exactly once");
  check(most.load() <= 2, "no more threads than asked for: " + std::to_string(most.load()));
  for (int round = 0; round < 50; ++round) {
    std::string caught;
    try {
      pool->run(64, 4, [&](int64_t i) {
        if (i == 17) throw std::runtime_error("index 17");
      });
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
    if (caught != "index 17") check(false, "an exception in a body comes out of run");
  }
  std::atomic<int> sum{0};
  pool->run(10, 4, [&](int64_t i) { sum += static_cast<int>(i); });
  equal(sum.load(), 45, "the pool works on after exceptions");
}

}  // namespace

int main() {
  run("control groups, version 2", version_2);
  run("control groups, version 1", version_1);
  run("no control groups", no_files_at_all);
  run("this machine", this_machine);
  run("pages", pages);
  run("thread pool", thread_pool);
  return summary();
}
