// Encoded images: their tokens, and the cross keys/values projected from them. Used by the engine's thread alone.
//
// An image lives as long as something refers to it: the store by its handle, and every request that uses it. Its cross
// keys/values fill whole pages of its own. They stay after a request has ended, for the next one, and go when another
// image needs the pages (least recently used first).
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/page_pool.h"
#include "model/model.h"
#include "model/routing.h"

namespace nvlm {

struct StoredImage {
  int tiles = 0;
  std::vector<CrossToken> cross;  // [cross tokens], in key order; empty: nothing of it is cross-attended
  // Device memory [tiles * tokens_per_tile, hidden], a row being model.image_token_bytes(); null before it is encoded.
  std::shared_ptr<char> tokens;
  std::vector<int32_t> pages;  // [ceil(cross tokens / 64)] cross pages; empty: none reserved
  bool projected = false;      // the pages hold the keys and values
  int users = 0;               // admitted requests; the pages stay while there are any
  bool kept = false;           // has a handle
};

using ImageRef = std::shared_ptr<StoredImage>;

class ImageStore {
 public:
  explicit ImageStore(Model& model);
  ~ImageStore();
  ImageStore(const ImageStore&) = delete;
  ImageStore& operator=(const ImageStore&) = delete;

  // An image that is not encoded yet. tile_tags: see cross_tokens.
  ImageRef create(int tiles, const std::vector<std::vector<int32_t>>& tile_tags) const;
  static int pages_needed(const StoredImage& image);

  // Device memory for the tokens of these images, as one block in their order: they are encoded in one batch. Throws
  // Error("out-of-memory").
  void reserve_tokens(const std::vector<ImageRef>& images);
  // pixels: u8 [tiles of all images, side, side, 3]; the images are those of reserve_tokens.
  void encode(const std::vector<ImageRef>& images, const uint8_t* pixels, const volatile int32_t* cancel);

  // Counts a user of each image and gives each its pages; false, and nothing done, when there are not enough (yet).
  bool use(const std::vector<ImageRef>& images);
  void leave(const std::vector<ImageRef>& images);
  // Fills the pages of an image that is in use.
  void project(StoredImage& image, BatchBuilder& batches, const volatile int32_t* cancel);

  // Gives the image a handle; null for one that is not known (any more).
  uint64_t keep(ImageRef image);
  ImageRef find(uint64_t handle) const;
  void release(uint64_t handle);

  int kept() const { return static_cast<int>(by_handle_.size()); }
  int pages() const { return pages_.total(); }
  int free_pages() const { return pages_.available(); }
  uint64_t bytes(const StoredImage& image) const;
  uint64_t encoded_tiles() const { return encoded_tiles_; }
  uint64_t cross_projections() const { return cross_projections_; }

 private:
  void drop_pages(StoredImage& image);

  Model& model_;
  PagePool pages_;
  std::unordered_map<uint64_t, ImageRef> by_handle_;
  std::list<StoredImage*> idle_;  // kept images with pages and without users, least recently used first
  uint64_t last_handle_ = 0, encoded_tiles_ = 0, cross_projections_ = 0;
};

}  // namespace nvlm
