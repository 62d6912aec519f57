#include "engine/image_store.h"

#include <algorithm>
#include <utility>

namespace nvlm {

ImageStore::ImageStore(Model& model) : model_(model), pages_(model.cross_page_count()) {}

ImageStore::~ImageStore() = default;

ImageRef ImageStore::create(int tiles, const std::vector<std::vector<int32_t>>& tile_tags) const {
  auto image = std::make_shared<StoredImage>();
  image->tiles = tiles;
  image->cross = cross_tokens(model_.config(), tiles, tile_tags);
  return image;
}

int ImageStore::pages_needed(const StoredImage& image) {
  return static_cast<int>(nvlm_pages_for(static_cast<int64_t>(image.cross.size())));
}

uint64_t ImageStore::bytes(const StoredImage& image) const {
  const ModelConfig& config = model_.config();
  return static_cast<uint64_t>(image.tiles) * static_cast<uint64_t>(config.tokens_per_tile()) *
         model_.image_token_bytes();
}

void ImageStore::reserve_tokens(const std::vector<ImageRef>& images) {
  int tiles = 0;
  for (const ImageRef& image : images) tiles += image->tiles;
  auto* memory = static_cast<char*>(model_.alloc_image(tiles));
  Model* model = &model_;
  const std::shared_ptr<char> block(memory, [model, tiles](char* tokens) { model->free_image(tokens, tiles); });
  uint64_t offset = 0;
  for (const ImageRef& image : images) {
    image->tokens = std::shared_ptr<char>(block, memory + offset);
    offset += bytes(*image);
  }
}

void ImageStore::encode(const std::vector<ImageRef>& images, const uint8_t* pixels, const volatile int32_t* cancel) {
  int tiles = 0;
  for (const ImageRef& image : images) tiles += image->tiles;
  model_.encode(pixels, tiles, images.front()->tokens.get(), cancel);
  encoded_tiles_ += static_cast<uint64_t>(tiles);
}

bool ImageStore::use(const std::vector<ImageRef>& images) {
  // Counting the users first keeps these images' own pages from being taken for each other.
  for (const ImageRef& image : images) {
    if (image->users++ == 0) idle_.remove(image.get());
  }
  int needed = 0;
  std::vector<StoredImage*> without;
  for (const ImageRef& image : images) {
    if (!image->pages.empty() || std::find(without.begin(), without.end(), image.get()) != without.end()) continue;
    needed += pages_needed(*image);
    without.push_back(image.get());
  }
  int evictable = 0;
  for (const StoredImage* image : idle_) evictable += static_cast<int>(image->pages.size());
  if (needed > pages_.available() + evictable) {
    leave(images);
    return false;
  }
  while (needed > pages_.available()) {
    drop_pages(*idle_.front());
    idle_.pop_front();
  }
  for (StoredImage* image : without) image->pages = std::move(*pages_.take(pages_needed(*image)));
  return true;
}

void ImageStore::leave(const std::vector<ImageRef>& images) {
  for (const ImageRef& image : images) {
    if (--image->users > 0) continue;
    if (image->kept && image->projected) {
      idle_.push_back(image.get());
    } else {
      drop_pages(*image);
    }
  }
}

void ImageStore::project(StoredImage& image, BatchBuilder& batches, const volatile int32_t* cancel) {
  const int count = static_cast<int>(image.cross.size());
  const int most = model_.description().options.step_rows;
  for (int from = 0; from < count; from += most) {
    const int rows = std::min(most, count - from);
    batches.clear();
    for (int i = from; i < from + rows; ++i) {
      const CrossToken& token = image.cross[static_cast<size_t>(i)];
      const void* source = token.token >= 0
                               ? nullptr
                               : image.tokens.get() + static_cast<uint64_t>(token.row) * model_.image_token_bytes();
      batches.add_cross_token(token.token, source, image.pages[static_cast<size_t>(i / NVLM_PAGE_KEYS)],
                              i % NVLM_PAGE_KEYS);
    }
    model_.project_cross(batches.cross_batch(), cancel);
  }
  image.projected = true;
  ++cross_projections_;
}

uint64_t ImageStore::keep(ImageRef image) {
  image->kept = true;
  by_handle_.emplace(++last_handle_, std::move(image));
  return last_handle_;
}

ImageRef ImageStore::find(uint64_t handle) const {
  const auto found = by_handle_.find(handle);
  return found == by_handle_.end() ? nullptr : found->second;
}

void ImageStore::release(uint64_t handle) {
  const auto found = by_handle_.find(handle);
  if (found == by_handle_.end()) return;
  StoredImage& image = *found->second;
  image.kept = false;
  if (image.users == 0) {
    idle_.remove(&image);
    drop_pages(image);
  }
  by_handle_.erase(found);
}

void ImageStore::drop_pages(StoredImage& image) {
  pages_.give_back(image.pages);
  image.projected = false;
}

}  // namespace nvlm
