// A model without arithmetic for the tests of the engine: keys are numbers in pages, the next token is a hash of every
// key its row attends to. So a wrong page, slot, fill count, interval, image token or history changes what is said; a
// key that was never written ends the request.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "image/cut_tiles.h"
#include "model/model.h"
#include "platform/error.h"
#include "support/families.h"

namespace nvlm::test {

// What a test makes the model do. Shared with the engine's thread.
struct FakeControl {
  // Waits there until cancelled (or let go).
  std::atomic<bool> hold_load{false}, hold_encode{false}, hold_cross{false}, hold_step{false};
  std::atomic<int> hold_from_step{-1};  // hold_step is set when the step of this number begins
  std::atomic<int> inside{0};           // calls that are held right now
  std::atomic<int> fail_step{-1};       // the step of this number throws
  std::atomic<int> nan_step{-1};        // in the step of this number every out row has no token
  std::atomic<int> steps{0}, encodes{0}, rows{0}, most_rows{0}, most_sequences{0}, loads_ended{0}, images_alive{0};
  std::atomic<bool> fail_encode{false};
  std::atomic<bool> cuts{false};  // the device cuts tiles
  std::atomic<bool> hold_cut{false}, fail_cut{false};
  std::atomic<int> pictures{0};  // that it has cut
};

class FakeModel final : public Model {
 public:
  FakeModel(Family family, const LoadOptions& options, std::shared_ptr<FakeControl> control)
      : control_(std::move(control)) {
    ModelConfig& config = description_.config;
    config = {};
    config.family = family;
    config.vision.image_size = 8;
    config.vision.patch = 1;
    config.downsample = 2;  // 16 tokens a tile
    config.tile_size = 8;
    config.decoder.hidden = 1;
    config.decoder.vocab = kVocab;
    config.use_thumbnail = true;
    description_.options = options;
    self_.assign(static_cast<size_t>(self_page_count()) * NVLM_PAGE_KEYS, kUnwritten);
    cross_.assign(static_cast<size_t>(cross_page_count()) * NVLM_PAGE_KEYS, kUnwritten);
  }
  ~FakeModel() override { ++control_->loads_ended; }

  static constexpr int kVocab = 1000;

  const Description& description() const override { return description_; }
  bool cut_tiles(const nvlm_picture& p, uint8_t* tiles) override {
    if (!control_->cuts) return false;
    ++control_->inside;
    while (control_->hold_cut) std::this_thread::sleep_for(std::chrono::microseconds(200));
    --control_->inside;
    if (control_->fail_cut) throw Error("internal", "planted in cut");
    ++control_->pictures;
    nvlm::cut_tiles(p.rgb, p.width, p.height, p.columns, p.rows, p.side, p.thumbnail != 0, tiles,
                    [](int64_t n, const std::function<void(int64_t)>& body) {
                      for (int64_t i = 0; i < n; ++i) body(i);
                    });
    return true;
  }
  void* alloc_image(int tiles) override {
    ++control_->images_alive;
    return new float[static_cast<size_t>(tiles) * 16];
  }
  void free_image(void* tokens, int) override {
    --control_->images_alive;
    delete[] static_cast<float*>(tokens);
  }
  uint64_t image_token_bytes() const override { return sizeof(float); }
  void encode(const uint8_t* tiles, int count, void* tokens, const volatile int32_t* cancel) override {
    auto* out = static_cast<float*>(tokens);
    held(control_->hold_encode, cancel);
    if (control_->fail_encode) throw Error("internal", "planted in encode");
    ++control_->encodes;
    for (int tile = 0; tile < count; ++tile) {
      uint64_t hash = 7;
      for (int i = 0; i < 8 * 8 * 3; ++i) hash = mix(hash, tiles[tile * 192 + i]);
      for (int t = 0; t < 16; ++t)
        out[tile * 16 + t] = static_cast<float>(mix(hash, static_cast<uint64_t>(t)) % 100000);
    }
  }
  int self_page_count() const override {
    return description_.options.max_sequences * ((description_.options.context_length + 63) / 64);
  }
  int cross_page_count() const override { return description_.config.family == kNvlmD ? 0 : cross_pages; }
  void project_cross(const nvlm_batch& batch, const volatile int32_t* cancel) override {
    held(control_->hold_cross, cancel);
    write(batch, cross_, false);
  }
  void step(const nvlm_batch& batch, bool cross, const volatile int32_t* cancel) override {
    const int number = control_->steps++;
    if (number == control_->hold_from_step) control_->hold_step = true;
    held(control_->hold_step, cancel);
    if (number == control_->fail_step) throw Error("internal", "planted in step");
    control_->rows += static_cast<int>(batch.rows);
    control_->most_rows = std::max<int>(control_->most_rows, static_cast<int>(batch.rows));
    control_->most_sequences = std::max<int>(control_->most_sequences, batch.sequences);
    if (batch.rows > description_.options.step_rows) throw Error("internal", "too many rows");
    write(batch, self_, true);
    int out = 0;
    for (int s = 0; s < batch.sequences; ++s) {
      for (int row = batch.row_begin[s]; row < batch.row_begin[s + 1]; ++row) {
        uint64_t hash = read(batch.self_pages, s, batch.self_begin[row], batch.self_end[row], self_, 11);
        const bool attends = batch.cross_begin[row] < batch.cross_end[row];
        if (attends && !cross) throw Error("internal", "a row attends though cross-attention is off");
        if (attends) hash = read(batch.cross_pages, s, batch.cross_begin[row], batch.cross_end[row], cross_, hash);
        // The residual stream of each row depends on what it saw, as in a model: so chunks before the last matter too.
        self_[static_cast<size_t>(batch.kv_slot[row])] =
            mix(self_[static_cast<size_t>(batch.kv_slot[row])], attends ? hash : 1);
        if (out < batch.outs && batch.out_row[out] == row) {
          const nvlm_sampling& sampling = batch.sampling[out];
          for (int i = sampling.prompt_len; i < sampling.history_len; ++i)
            hash = mix(hash, static_cast<uint64_t>(sampling.history[i]));
          hash = mix(mix(hash, sampling.seed), sampling.step);
          batch.sampled[out].token = number == control_->nan_step ? -1 : static_cast<int32_t>(hash % kVocab);
          batch.sampled[out].logprob = -1;
          ++out;
        }
      }
    }
    if (out != batch.outs) throw Error("internal", "out rows are out of order");
  }
  void read_logits(float*, int64_t) override {}
  MemoryUse measured() const override { return {}; }

  static inline int cross_pages = 8;

 private:
  static constexpr uint64_t kUnwritten = ~uint64_t{0};

  static uint64_t mix(uint64_t hash, uint64_t value) {
    hash ^= value + 0x9e3779b97f4a7c15 + (hash << 6) + (hash >> 2);
    return hash * 0xbf58476d1ce4e5b9 % 0xffffffffffffffc5;
  }

  void held(const std::atomic<bool>& hold, const volatile int32_t* cancel) {
    if (hold) {
      ++control_->inside;
      while (hold && !std::atomic_ref<int32_t>(const_cast<int32_t&>(*cancel)).load())
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      --control_->inside;
    }
    if (std::atomic_ref<int32_t>(const_cast<int32_t&>(*cancel)).load()) throw Error("aborted", "Aborted.");
  }

  static void write(const nvlm_batch& batch, std::vector<uint64_t>& cache, bool positions) {
    for (int64_t row = 0; row < batch.rows; ++row) {
      const auto* source = batch.source ? static_cast<const float*>(batch.source[row]) : nullptr;
      const uint64_t value =
          source ? 1000000 + static_cast<uint64_t>(*source) : static_cast<uint64_t>(batch.token[row]);
      cache.at(static_cast<size_t>(batch.kv_slot[row])) =
          mix(value, positions ? static_cast<uint64_t>(batch.position[row]) : 3);
    }
  }

  static uint64_t read(const nvlm_pages& pages, int sequence, int begin, int end, const std::vector<uint64_t>& cache,
                       uint64_t hash) {
    int key = 0;
    for (int i = pages.begin[sequence]; i < pages.begin[sequence + 1]; ++i) {
      for (int place = 0; place < pages.fill[i]; ++place, ++key) {
        if (key < begin || key >= end) continue;
        const uint64_t value = cache.at(static_cast<size_t>(pages.page[i] * NVLM_PAGE_KEYS + place));
        if (value == kUnwritten) throw Error("internal", "a key was read that nobody wrote");
        hash = mix(hash, value);
      }
    }
    if (key < end) throw Error("internal", "an interval ends behind the keys");
    return hash;
  }

  std::shared_ptr<FakeControl> control_;
  Description description_;
  std::vector<uint64_t> self_, cross_;  // [page * 64 + place]
};

}  // namespace nvlm::test
