#include "model/model.h"

#include <algorithm>

#include "model/blueprint.h"
#include "model/device.h"
#include "model/fit.h"

namespace nvlm {
namespace {

// Memory of a device, freed with the object.
class DeviceMemory {
 public:
  DeviceMemory(const Device& device, uint64_t bytes, const char* what) : device_(device), bytes_(bytes) {
    if (bytes) device.check(device.backend.alloc(device.handle, bytes, &memory_), what);
  }
  ~DeviceMemory() {
    if (memory_) device_.backend.free(device_.handle, memory_, bytes_);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* get() const { return memory_; }

 private:
  const Device& device_;
  uint64_t bytes_;
  void* memory_ = nullptr;
};

// A compiled program, freed with the object. Empty for a program without records.
class CompiledProgram {
 public:
  CompiledProgram(const Device& device, const nvlm_program& program) : device_(device) {
    if (program.record_count)
      device.check(device.backend.compile(device.handle, &program, &plan_), "compiling a program");
  }
  ~CompiledProgram() {
    if (plan_) device_.backend.free_plan(device_.handle, plan_);
  }
  CompiledProgram(const CompiledProgram&) = delete;
  CompiledProgram& operator=(const CompiledProgram&) = delete;

  void run(const nvlm_batch& batch, const volatile int32_t* cancel, const char* doing) const {
    device_.check(device_.backend.run(device_.handle, plan_, &batch, cancel), doing);
  }

 private:
  const Device& device_;
  nvlm_plan* plan_ = nullptr;
};

struct UploadedWeights {
  UploadedWeights(WeightTable& table, const Device& device, const std::function<void(uint64_t, uint64_t)>& progress,
                  const volatile int32_t* cancel)
      : table_(table), device_(device) {
    try {
      table.upload(device, progress, cancel);
    } catch (...) {
      table.free(device);
      throw;
    }
  }
  ~UploadedWeights() { table_.free(device_); }
  UploadedWeights(const UploadedWeights&) = delete;
  UploadedWeights& operator=(const UploadedWeights&) = delete;

 private:
  WeightTable& table_;
  const Device& device_;
};

class LoadedModel final : public Model {
 public:
  LoadedModel(std::unique_ptr<Device> device, std::unique_ptr<Blueprint> blueprint, Description description,
              const std::function<void(uint64_t, uint64_t)>& progress, const volatile int32_t* cancel)
      : device_(std::move(device)),
        blueprint_(std::move(blueprint)),
        description_(std::move(description)),
        weights_(blueprint_->weights, *device_, progress, cancel),
        measured_weights_(used()),
        self_kv_(*device_, description_.memory.kv_cache, "reserving the key/value cache"),
        measured_self_(used() - measured_weights_),
        cross_kv_(*device_, description_.memory.cross_cache, "reserving the cross-attention cache"),
        measured_cross_(used() - measured_weights_ - measured_self_),
        arena_(*device_, blueprint_->arena_bytes(), "reserving activations"),
        encode_(*device_, view(blueprint_->encode)),
        cross_projection_(*device_, view(blueprint_->cross_projection)),
        decode_text_(*device_, view(blueprint_->decode_text)),
        decode_cross_(*device_, view(blueprint_->decode_cross)),
        measured_activations_(used() - measured_weights_ - measured_self_ - measured_cross_) {
    blueprint_->checkpoint.close();  // everything is packed: let the files go
  }

  const Description& description() const override { return description_; }

  bool cut_tiles(const nvlm_picture& picture, uint8_t* tiles) override {
    if (!device_->backend.cut_tiles) return false;
    const nvlm_status status = device_->backend.cut_tiles(device_->handle, &picture, tiles);
    // A device that is full still serves: the host has memory of its own.
    if (status == NVLM_UNSUPPORTED || status == NVLM_OUT_OF_MEMORY) return false;
    device_->check(status, "cutting an image into tiles");
    return true;
  }

  void* alloc_image(int tiles) override {
    void* memory = nullptr;
    device_->check(device_->backend.alloc(device_->handle, blueprint_->image_bytes(tiles), &memory),
                   "reserving an image's tokens");
    measured_images_ += blueprint_->image_bytes(tiles);
    return memory;
  }

  void free_image(void* tokens, int tiles) override {
    device_->backend.free(device_->handle, tokens, blueprint_->image_bytes(tiles));
    measured_images_ -= blueprint_->image_bytes(tiles);
  }

  uint64_t image_token_bytes() const override { return blueprint_->token_bytes(); }

  void encode(const uint8_t* tiles, int count, void* out, const volatile int32_t* cancel) override {
    const auto most = static_cast<int>(blueprint_->encode.max_count[NVLM_TILES]);
    const size_t tile_bytes = static_cast<size_t>(config().tile_size) * static_cast<size_t>(config().tile_size) * 3;
    for (int first = 0; first < count; first += most) {
      nvlm_batch batch{};
      batch.tiles = std::min(most, count - first);
      batch.pixels = tiles + static_cast<size_t>(first) * tile_bytes;
      encode_.run(batch, cancel, "encoding an image");
      char* to = static_cast<char*>(out) + blueprint_->image_bytes(first);
      const uint64_t bytes = blueprint_->image_bytes(static_cast<int>(batch.tiles));
      device_->check(device_->backend.write(device_->handle, to, output(blueprint_->encode), bytes),
                     "copying image tokens");
    }
  }

  int self_page_count() const override { return blueprint_->self_kv.pages; }
  int cross_page_count() const override { return blueprint_->cross_kv.pages; }

  void project_cross(const nvlm_batch& batch, const volatile int32_t* cancel) override {
    cross_projection_.run(batch, cancel, "projecting an image's keys and values");
  }

  void step(const nvlm_batch& batch, bool cross, const volatile int32_t* cancel) override {
    (cross ? decode_cross_ : decode_text_).run(batch, cancel, "decoding");
    device_->check(device_->backend.wait(device_->handle), "decoding");
    last_cross_ = cross;
  }

  void read_logits(float* out, int64_t outs) override {
    const uint64_t bytes = static_cast<uint64_t>(outs) * static_cast<uint64_t>(config().decoder.vocab) * sizeof(float);
    const void* from = output(last_cross_ ? blueprint_->decode_cross : blueprint_->decode_text);
    device_->check(device_->backend.read(device_->handle, out, from, bytes), "reading logits");
  }

  MemoryUse measured() const override {
    return {measured_weights_, measured_self_, measured_cross_, measured_activations_, measured_images_};
  }

 private:
  const void* output(const Program& program) const {
    return static_cast<const char*>(arena_.get()) + program.tensors[program.output].offset;
  }

  uint64_t used() const { return device_->backend.used_bytes(device_->handle); }

  nvlm_program view(const Program& program) const {
    nvlm_kv_cache self = blueprint_->self_kv, cross = blueprint_->cross_kv;
    self.memory = self_kv_.get();
    cross.memory = cross_kv_.get();
    return program.view(blueprint_->weights, arena_.get(), self, cross);
  }

  // In this order: each member frees through the ones above it.
  std::unique_ptr<Device> device_;
  std::unique_ptr<Blueprint> blueprint_;
  Description description_;
  UploadedWeights weights_;
  uint64_t measured_weights_;
  DeviceMemory self_kv_;
  uint64_t measured_self_;
  DeviceMemory cross_kv_;
  uint64_t measured_cross_;
  DeviceMemory arena_;
  CompiledProgram encode_, cross_projection_, decode_text_, decode_cross_;
  uint64_t measured_activations_;
  uint64_t measured_images_ = 0;
  bool last_cross_ = false;
};

}  // namespace

Description Model::describe(const LoadOptions& options) {
  const Device device(options);
  return nvlm::describe(Blueprint(options, device), device);
}

std::unique_ptr<Model> Model::load(const LoadOptions& options, const std::function<void(uint64_t, uint64_t)>& progress,
                                   const volatile int32_t* cancel) {
  auto device = std::make_unique<Device>(options);
  auto blueprint = std::make_unique<Blueprint>(options, *device);
  Description description = nvlm::describe(*blueprint, *device);
  refuse_if_too_large(description, *device);
  return std::make_unique<LoadedModel>(std::move(device), std::move(blueprint), std::move(description), progress,
                                       cancel);
}

}  // namespace nvlm
