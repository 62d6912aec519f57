// A model that hands every call on to another: what watches or changes some of the calls derives from it.
#pragma once

#include "model/model.h"

namespace nvlm::test {

class ForwardingModel : public Model {
 public:
  explicit ForwardingModel(Model& model) : model_(model) {}  // which outlives this

  const Description& description() const override { return model_.description(); }
  bool cut_tiles(const nvlm_picture& picture, uint8_t* tiles) override { return model_.cut_tiles(picture, tiles); }
  void* alloc_image(int tiles) override { return model_.alloc_image(tiles); }
  void free_image(void* tokens, int tiles) override { model_.free_image(tokens, tiles); }
  void encode(const uint8_t* tiles, int count, void* out, const volatile int32_t* cancel) override {
    model_.encode(tiles, count, out, cancel);
  }
  uint64_t image_token_bytes() const override { return model_.image_token_bytes(); }
  int self_page_count() const override { return model_.self_page_count(); }
  int cross_page_count() const override { return model_.cross_page_count(); }
  void project_cross(const nvlm_batch& batch, const volatile int32_t* cancel) override {
    model_.project_cross(batch, cancel);
  }
  void step(const nvlm_batch& batch, bool cross, const volatile int32_t* cancel) override {
    model_.step(batch, cross, cancel);
  }
  void read_logits(float* out, int64_t outs) override { model_.read_logits(out, outs); }
  MemoryUse measured() const override { return model_.measured(); }

 protected:
  Model& model_;
};

}  // namespace nvlm::test
