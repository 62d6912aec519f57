// cutTiles(image, tileSize, thumbnail, done): the tiles as the model sees them, without a model.
//
// The result's memory is made here and written by the pool's thread, so that nothing is copied on the JS thread; input
// and output are kept by references.
#include <string>

#include "addon/async_task.h"
#include "addon/convert.h"
#include "addon/exports.h"
#include "image/cut_tiles.h"
#include "platform/memory.h"
#include "platform/thread_pool.h"

namespace nvlm {
namespace {

constexpr double kMostTileSize = 4096;              // pixels a side
constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // of the result

class CutTilesTask final : public AsyncTask {
 public:
  CutTilesTask(Napi::Value image, Napi::Value tile_size, Napi::Value thumbnail, Napi::Function done)
      : AsyncTask(done, "nvlm:cutTiles") {
    std::vector<Napi::Object> pinned;
    image_ = read_image(image, pinned, failure_);
    const double side = tile_size.IsNumber() ? tile_size.As<Napi::Number>().DoubleValue() : 0;
    if (!failure_ && (!(side >= 1 && side <= kMostTileSize) || !thumbnail.IsBoolean() || image_.handle != 0)) {
      failure_ = js::mismatch("Expected pixels, a tile size in pixels and a boolean for cutTiles.");
    }
    if (failure_) return;
    side_ = static_cast<int>(side);
    thumbnail_ = thumbnail.As<Napi::Boolean>();
    const uint64_t tiles =
        static_cast<uint64_t>(image_.columns) * static_cast<uint64_t>(image_.rows) + (thumbnail_ ? 1 : 0);
    const uint64_t bytes = tiles * static_cast<uint64_t>(side_) * static_cast<uint64_t>(side_) * 3;
    if (bytes > kMostBytes) {
      failure_ = {"bad-option", std::to_string(tiles) + " tiles of " + std::to_string(side_) + " pixels are " +
                                    std::to_string(bytes) + " bytes, more than 1 GiB. Ask for a smaller grid."};
      return;
    }
    Napi::Uint8Array output = Napi::Uint8Array::New(Env(), static_cast<size_t>(bytes));
    out_ = output.Data();
    if (!out_) {
      failure_ = {"out-of-memory",
                  "The environment refused " + std::to_string(bytes) + " bytes for the tiles. Ask for a smaller grid."};
      return;
    }
    input_ = Napi::Persistent(pinned.front());
    output_ = Napi::Persistent(output.As<Napi::Object>());
  }

 private:
  void work() override {
    const int threads = usable_cpus();
    const std::shared_ptr<ThreadPool> pool = ThreadPool::acquire(threads);
    const ParallelFor parallel_for = [&](std::int64_t n, const std::function<void(std::int64_t)>& body) {
      pool->run(n, threads, body);
    };
    cut_tiles(image_.pixels, image_.width, image_.height, image_.columns, image_.rows, side_, thumbnail_, out_,
              parallel_for);
  }

  Napi::Value result(Napi::Env) override { return output_.Value(); }

  ImageInput image_;
  int side_ = 0;
  bool thumbnail_ = false;
  uint8_t* out_ = nullptr;
  Napi::ObjectReference input_, output_;
};

}  // namespace

Napi::Value exports::cut_tiles(const Napi::CallbackInfo& info) {
  if (info[3].IsFunction()) (new CutTilesTask(info[0], info[1], info[2], info[3].As<Napi::Function>()))->Queue();
  return info.Env().Undefined();
}

}  // namespace nvlm
