// cutTiles(image, tileSize, thumbnail, done): the tiles as the model sees them, without a model.
//
// The result's memory is made here and written by the pool's thread, so that nothing is copied on the JS thread; input and output are kept by references.
#include <limits>

#include "addon/async_task.h"
#include "addon/convert.h"
#include "addon/functions.h"
#include "cpu/thread_pool.h"
#include "image/tiles.h"
#include "platform/memory.h"

namespace nvlm {
namespace {

constexpr double kMostTileSize = 4096;                   // pixels a side
constexpr uint64_t kMostBytes = uint64_t{1} << 30;       // of the result

class CutTilesTask final : public AsyncTask {
 public:
  CutTilesTask(napi_env env, napi_value image, napi_value tile_size, napi_value thumbnail) {
    std::vector<napi_value> pinned;
    image_ = read_image(env, image, pinned, failure_);
    double side = 0;
    const bool typed = tile_size && thumbnail && napi_get_value_double(env, tile_size, &side) == napi_ok && napi_get_value_bool(env, thumbnail, &thumbnail_) == napi_ok;
    if (!failure_ && (!typed || !(side >= 1 && side <= kMostTileSize) || image_.handle != 0)) {
      failure_ = {"internal", "Expected pixels, a tile size in pixels and a boolean for cutTiles. Install library and addon of the same version."};
    }
    if (failure_) return;
    side_ = static_cast<int>(side);
    const uint64_t tiles = static_cast<uint64_t>(image_.columns) * static_cast<uint64_t>(image_.rows) + (thumbnail_ ? 1 : 0);
    const uint64_t bytes = tiles * static_cast<uint64_t>(side_) * static_cast<uint64_t>(side_) * 3;
    if (bytes > kMostBytes) {
      failure_ = {"bad-option", std::to_string(tiles) + " tiles of " + std::to_string(side_) + " pixels are " + std::to_string(bytes) +
                                    " bytes, more than 1 GiB. Ask for a smaller grid."};
      return;
    }
    void* memory = nullptr;
    napi_value buffer = nullptr, array = nullptr;
    if (napi_create_arraybuffer(env, static_cast<size_t>(bytes), &memory, &buffer) != napi_ok ||
        napi_create_typedarray(env, napi_uint8_array, static_cast<size_t>(bytes), buffer, 0, &array) != napi_ok ||
        napi_create_reference(env, array, 1, &output_) != napi_ok || napi_create_reference(env, pinned.front(), 1, &input_) != napi_ok) {
      failure_ = {"out-of-memory", "The environment refused " + std::to_string(bytes) + " bytes for the tiles. Ask for a smaller grid."};
      return;
    }
    out_ = static_cast<uint8_t*>(memory);
  }

 private:
  void execute() override {
    const int threads = usable_cpus();
    const std::shared_ptr<cpu::ThreadPool> pool = cpu::ThreadPool::acquire(threads);
    const ParallelFor parallel_for = [&](std::int64_t n, const std::function<void(std::int64_t)>& body) { pool->run(n, threads, body); };
    cut_tiles(image_.pixels, image_.width, image_.height, image_.columns, image_.rows, side_, thumbnail_, out_, parallel_for);
  }

  napi_value result(napi_env env) override {
    napi_value array = nullptr;
    napi_get_reference_value(env, output_, &array);
    return array;
  }

  void cleanup(napi_env env) override {
    if (output_) napi_delete_reference(env, output_);
    if (input_) napi_delete_reference(env, input_);
  }

  ImageInput image_;
  int side_ = 0;
  bool thumbnail_ = false;
  uint8_t* out_ = nullptr;
  napi_ref output_ = nullptr, input_ = nullptr;
};

}  // namespace

napi_value cut_tiles_js(napi_env env, napi_callback_info info) {
  size_t argc = 4;
  napi_value argv[4] = {nullptr, nullptr, nullptr, nullptr};
  napi_get_cb_info(env, info, &argc, argv, nullptr, nullptr);
  if (!js::is_function(env, argv[3])) return js::undefined(env);
  return AsyncTask::start(env, std::make_unique<CutTilesTask>(env, argv[0], argv[1], argv[2]), argv[3], "nvlm:cutTiles");
}

}  // namespace nvlm
