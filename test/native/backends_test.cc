// What could break: a device name that means something else than it says, a library that is missing or of another
// version taken all the same, a reason without its fix, "auto" that fails instead of falling back, a library that
// stays open.
#include "model/backends.h"

#include "support/check.h"
#include "support/open_library.h"
#include "support/scratch_folder.h"

using namespace nvlm;
using test::holds;
using test::is_open;

namespace {

const std::string kFake = NVLM_FAKE_CUDA;  // two GPUs: 0 is too old, 1 can be used
const std::string kOtherVersion = NVLM_FAKE_CUDA_OTHER_VERSION;
const std::string kKept = NVLM_FAKE_CUDA_KEPT;

void check_choice(const BackendChoice& choice, const char* backend, int device, const std::string& id) {
  test::equal(std::string(choice.backend->name), std::string(backend), id + ": backend");
  test::equal(choice.device, device, id + ": device");
  test::equal(choice.id, id, "id");
}

}  // namespace

int main() {
  test::run("the CPU needs no library, and opens none", [] {
    check_choice(choose_backend("cpu", kFake), "cpu", 0, "cpu");
    check_choice(choose_backend("reference", ""), "reference", 0, "reference");
    test::check(!choose_backend("cpu", kFake).library, "no library is held");
    test::check(!is_open(kFake), "the library is closed");
  });

  test::run("a GPU is taken by its number", [] {
    {
      const BackendChoice choice = choose_backend("cuda:1", kFake);
      check_choice(choice, "cuda", 1, "cuda:1");
      test::check(choice.fallback.empty(), "nothing fell back");
      test::check(is_open(kFake), "the choice keeps the library");
    }
    test::check(!is_open(kFake), "the library is closed with the choice");
    test::throws("device-unavailable", {"GPU 0 is too old", "device: 'cpu'"}, [] { choose_backend("cuda", kFake); });
    test::throws("device-unavailable", {"GPU 0 is too old"}, [] { choose_backend("emulator", kFake); });
    test::throws("device-unavailable", {"no GPU 7"}, [] { choose_backend("cuda:7", kFake); });
    test::check(!is_open(kFake), "a refusal keeps nothing open");
  });

  test::run("auto takes the first GPU that can be used, else the CPU, and says why", [] {
    check_choice(choose_backend("auto", kFake), "cuda", 1, "cuda:1");
    const BackendChoice choice = choose_backend("auto", "");
    check_choice(choice, "cpu", 0, "cpu");
    test::check(holds(choice.fallback, "no CUDA library") && holds(choice.fallback, "device: 'cpu'"),
                "the reason: " + choice.fallback);
    const BackendChoice other = choose_backend("auto", kOtherVersion);
    check_choice(other, "cpu", 0, "cpu");
    test::check(holds(other.fallback, "interface 1,"), "the reason: " + other.fallback);
    test::check(!other.library && !is_open(kOtherVersion), "the library is closed");
  });

  test::run("a library that can't be used is refused with its name, the reason and the fix", [] {
    test::throws("device-unavailable", {"no CUDA library", "Install", "device: 'cpu'"},
                 [] { choose_backend("cuda", ""); });
    test::throws("device-unavailable", {"/nowhere/nvlm_cuda.so could not be opened", "device: 'cpu'"},
                 [] { choose_backend("cuda", "/nowhere/nvlm_cuda.so"); });
    test::throws("device-unavailable",
                 {kOtherVersion, "has interface 1, but " + std::to_string(NVLM_BACKEND_VERSION) + " is needed"},
                 [] { choose_backend("cuda", kOtherVersion); });
    test::throws("device-unavailable", {"libm.so.6 has no interface"}, [] { choose_backend("cuda", "libm.so.6"); });
    const test::ScratchFolder folder("backends");
    folder.write("nvlm_cuda.so", "not a library");
    const std::string text = folder.path() + "/nvlm_cuda.so";
    test::throws("device-unavailable", {text}, [&] { choose_backend("cuda", text); });
  });

  test::run("a library that has to stay stays", [] {
    std::string reason;
    std::shared_ptr<DynamicLibrary> library = DynamicLibrary::open(kKept, &reason);
    if (!test::check(library != nullptr, reason)) return;
    DynamicLibrary::keep(library->symbol("nvlm_cuda_backend"));
    library.reset();
    test::check(is_open(kKept), "it is open, though nobody holds it");
  });

  test::run("other names mean nothing", [] {
    for (const char* name :
         {"", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda: 1", "cuda:1x", "cuda:99999999999", "cpu:0"}) {
      test::throws("bad-option", {"'" + std::string(name) + "'", "Leave it out"}, [&] { choose_backend(name, kFake); });
    }
  });

  test::run("every device is listed, those that can't be used with the reason", [] {
    const std::vector<DeviceEntry> all = list_devices(kFake);
    if (!test::equal(all.size(), size_t{3}, "entries")) return;
    test::equal(all[0].id, std::string("cpu"), "the CPU is first");
    test::check(all[0].description.available && all[0].description.memory_total > 0 && all[0].threads > 0 &&
                    !all[0].instruction_set.empty(),
                "the CPU is described");
    test::equal(all[1].id + " " + all[1].description.name + " " + all[1].description.reason,
                "cuda:0 Old GPU GPU 0 is too old. Use device: 'cpu'.", "the first GPU");
    test::check(!all[1].description.available, "the first GPU can't be used");
    test::equal(all[2].id + " " + all[2].description.name + " " + all[2].description.reason, "cuda:1 New GPU ",
                "the second GPU");
    test::check(all[2].description.available && all[2].description.memory_total == 2000, "the second GPU can be used");
    test::check(!is_open(kFake), "the library is closed");

    const std::vector<DeviceEntry> none = list_devices("");
    if (!test::equal(none.size(), size_t{2}, "entries without a library")) return;
    test::equal(none[1].id, std::string("cuda"), "one entry for all GPUs");
    test::check(!none[1].description.available && holds(none[1].description.reason, "no CUDA library"), "it says why");
  });

  return test::summary();
}
