#include "engine/scheduler.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "engine/request_tiles.h"

namespace nvlm {
namespace {

int pages_for(int keys) { return static_cast<int>(nvlm_pages_for(keys)); }

}  // namespace

std::unique_ptr<Error> caught(const std::function<void()>& action) {
  try {
    action();
    return nullptr;
  } catch (const Error& error) {
    return std::make_unique<Error>(error);
  } catch (const std::bad_alloc&) {
    return std::make_unique<Error>(
        "out-of-memory",
        "The system refused memory for this request. Close other models or programs, or send less at once.");
  } catch (const std::exception& error) {
    return std::make_unique<Error>(
        "internal", std::string("The engine failed unexpectedly (") + error.what() + "). Please report this.");
  }
}

Scheduler::Scheduler(Model& model, Cancellation& cancellation, ParallelFor parallel_for,
                     std::function<void(Event)> emit)
    : model_(model),
      cancellation_(cancellation),
      parallel_for_(std::move(parallel_for)),
      emit_(std::move(emit)),
      most_running_(model.description().options.max_sequences),
      self_pages_(model.self_page_count()),
      images_(model),
      // An image may be in several prompts, and twice in one; so the cross page list can be longer than the cache.
      batches_(model.description().options.step_rows, most_running_, model.self_page_count(),
               most_running_ * std::max(1, model.description().options.max_images) * model.cross_page_count()) {}

// ---- Requests come in ----

void Scheduler::submit(uint64_t id, Request request, Clock::time_point now) {
  guarded(id, [&] {
    auto owned = std::make_unique<Sequence>(id, std::move(request), now);
    Sequence& sequence = *owned;
    Prompt& prompt = sequence.request.prompt;
    prompt.image_tiles.clear();
    std::vector<int32_t> cross_count;
    for (const ImageInput& input : sequence.request.images) {
      ImageRef image;
      if (input.handle) {
        image = images_.find(input.handle);
        if (!image)
          throw Error("closed",
                      "The encoded image was released before this call. Encode it again, or keep it until the answer "
                      "has come.");
      } else {
        image = images_.create(tile_count(model_.config(), input), sequence.request.tile_tags);
        sequence.fresh.push_back(image);
        sequence.fresh_pixels.push_back(input);
      }
      prompt.image_tiles.push_back(image->tiles);
      cross_count.push_back(static_cast<int32_t>(image->cross.size()));
      sequence.images.push_back(std::move(image));
    }
    sequence.prompt_length = static_cast<int>(prompt.ids.size());
    check_fits(sequence, cross_count);
    sequence.routing = route(model_.config(), prompt, cross_count);
    sequence.request.max_tokens = std::min(sequence.request.max_tokens, context() - sequence.prompt_length);
    sequence.history = prompt.ids;
    sequence.history.reserve(prompt.ids.size() + static_cast<size_t>(sequence.request.max_tokens));
    waiting_.push_back(std::move(owned));
  });
}

int Scheduler::context() const {
  return std::min(model_.description().options.context_length, self_pages_.total() * NVLM_PAGE_KEYS);
}

// A request larger than the whole cache would wait for ever, so it fails at once.
void Scheduler::check_fits(const Sequence& sequence, const std::vector<int32_t>& cross_count) const {
  const LoadOptions& options = model_.description().options;
  if (sequence.prompt_length < 1 || sequence.request.max_tokens < 1) {
    throw Error("internal", "A request has an empty prompt or asks for " + std::to_string(sequence.request.max_tokens) +
                                " tokens. Please report this.");
  }
  if (sequence.prompt_length >= context()) {
    std::string images;
    for (const int32_t tiles : sequence.request.prompt.image_tiles)
      images += (images.empty() ? "" : ", ") + std::to_string(tiles);
    throw Error("prompt-too-long",
                "The prompt has " + std::to_string(sequence.prompt_length) + " tokens" +
                    (images.empty() ? "" : " (tiles of its images: " + images + ")") + " but the context holds " +
                    std::to_string(context()) +
                    ", the answer included. Shorten it, use fewer tiles, or load with a larger contextLength.");
  }
  int cross_pages = 0;
  for (size_t i = 0; i < sequence.images.size(); ++i) {
    const auto before = sequence.images.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(sequence.images.begin(), before, sequence.images[i]) == before)
      cross_pages += pages_for(cross_count[i]);
  }
  if (static_cast<int>(sequence.images.size()) > options.max_images || cross_pages > images_.pages()) {
    throw Error("too-many-images", "The prompt has " + std::to_string(sequence.images.size()) + " images (" +
                                       std::to_string(cross_pages) +
                                       " cross-attention pages) but the model was loaded for " +
                                       std::to_string(options.max_images) + " (" + std::to_string(images_.pages()) +
                                       " pages). Leave images out, or load with a larger maxImages.");
  }
}

void Scheduler::encode(uint64_t id, const ImageInput& image, const std::vector<std::vector<int32_t>>& tile_tags,
                       Clock::time_point now) {
  guarded(id, [&] {
    encoding_.push_back({id, image, images_.create(tile_count(model_.config(), image), tile_tags), now});
  });
}

// ---- A turn ----

void Scheduler::turn() {
  end_cancelled();
  encode_one();
  admit();
  step();
}

void Scheduler::end_cancelled() {
  const Error aborted("aborted", "The call was aborted. Call again if the answer is still wanted.");
  const auto cancelled = [&](const SequencePtr& sequence) {
    if (!cancellation_.cancelled(sequence->id)) return false;
    give_back(*sequence);
    fail(sequence->id, aborted);
    return true;
  };
  std::erase_if(running_, cancelled);
  std::erase_if(waiting_, cancelled);
  std::erase_if(encoding_, [&](const EncodeJob& job) {
    if (!cancellation_.cancelled(job.id)) return false;
    fail(job.id, aborted);
    return true;
  });
}

void Scheduler::encode_one() {
  if (encoding_.empty()) return;
  const EncodeJob job = std::move(encoding_.front());
  encoding_.pop_front();
  guarded(job.id, [&] {
    Event event = event_of(Event::Type::encoded, job.id);
    event.timings.queued = milliseconds_since(job.submitted);
    cancellation_.work({job.id});
    images_.reserve_tokens({job.image});
    const std::vector<uint8_t> tiles = cut(job.id, {job.pixels}, event.timings);
    run_encoder({job.image}, tiles, event.timings);
    event.handle = images_.keep(job.image);
    event.bytes = images_.bytes(*job.image);
    event.tiles = job.image->tiles;
    cancellation_.leave(job.id);
    emit_(std::move(event));
  });
}

void Scheduler::admit() {
  bool encoded = false;
  while (!waiting_.empty() && !encoded && static_cast<int>(running_.size()) < most_running_) {
    Sequence& sequence = *waiting_.front();
    if (!reserve(sequence)) return;
    encoded = !sequence.fresh.empty();
    if (guarded(sequence.id, [&] { prepare(sequence); })) {
      running_.push_back(std::move(waiting_.front()));
    } else {
      give_back(sequence);
    }
    waiting_.pop_front();
  }
}

bool Scheduler::reserve(Sequence& sequence) {
  auto pages = self_pages_.take(pages_for(sequence.positions()));
  if (!pages) return false;
  sequence.self_pages = std::move(*pages);
  if (images_.use(sequence.images)) return true;
  self_pages_.give_back(sequence.self_pages);
  return false;
}

void Scheduler::prepare(Sequence& sequence) {
  sequence.timings.queued = milliseconds_since(sequence.stage_began);
  cancellation_.work({sequence.id});
  if (!sequence.fresh.empty()) {
    images_.reserve_tokens(sequence.fresh);
    const std::vector<uint8_t> tiles = cut(sequence.id, sequence.fresh_pixels, sequence.timings);
    run_encoder(sequence.fresh, tiles, sequence.timings);
  }
  sequence.stage_began = Clock::now();
  for (const ImageRef& image : sequence.images) {
    if (!image->cross.empty() && !image->projected) images_.project(*image, batches_, cancellation_.flag());
    for (size_t page = 0; page < image->pages.size(); ++page) {
      sequence.cross_pages.push_back(image->pages[page]);
      sequence.cross_fill.push_back(
          std::min(NVLM_PAGE_KEYS, static_cast<int>(image->cross.size() - page * NVLM_PAGE_KEYS)));
    }
  }
}

std::vector<uint8_t> Scheduler::cut(uint64_t id, const std::vector<ImageInput>& pixels, Timings& timings) {
  const auto start = Clock::now();
  std::vector<uint8_t> tiles = cut_images(model_, pixels, parallel_for_);
  emit_(event_of(Event::Type::pixels_free, id));
  timings.cut_tiles = milliseconds_since(start);
  return tiles;
}

void Scheduler::run_encoder(const std::vector<ImageRef>& images, const std::vector<uint8_t>& tiles, Timings& timings) {
  const auto start = Clock::now();
  images_.encode(images, tiles.data(), cancellation_.flag());
  timings.encode_tiles = milliseconds_since(start);
}

void Scheduler::step() {
  if (running_.empty()) return;
  const std::vector<Share> shares = fill_batch();
  std::vector<uint64_t> ids;
  for (const Share& share : shares) ids.push_back(share.sequence->id);
  cancellation_.work(ids);
  const std::unique_ptr<Error> error =
      caught([&] { model_.step(batches_.step_batch(), batches_.cross(), cancellation_.flag()); });
  if (cancellation_.stopping()) return;  // end_all follows

  std::vector<const Sequence*> ended;
  int outs = 0;
  for (const auto& [sequence, rows, samples] : shares) {
    bool goes_on = true;
    if (error) {
      give_back(*sequence);
      fail(sequence->id, *error);
      goes_on = false;
    } else {
      sequence->fed += rows;
      // Image tokens are in the keys and values now; those of a handle stay for the next prompt.
      if (!sequence->reading()) {
        for (const ImageRef& image : sequence->fresh) image->tokens.reset();
      }
      if (samples) goes_on = take(*sequence, batches_.sampled(outs++));
    }
    if (!goes_on) ended.push_back(sequence);
  }
  std::erase_if(running_, [&](const SequencePtr& sequence) {
    return std::find(ended.begin(), ended.end(), sequence.get()) != ended.end();
  });
}

std::vector<Scheduler::Share> Scheduler::fill_batch() {
  std::vector<Share> shares;
  batches_.clear();
  const auto add = [&](Sequence& sequence) {
    const int rows = std::min(sequence.pending(), batches_.room());
    if (rows == 0) return;
    shares.push_back({&sequence, rows, rows == sequence.pending()});
    batches_.add(sequence, rows, model_.image_token_bytes());
  };
  for (const SequencePtr& sequence : running_) {
    if (!sequence->reading()) add(*sequence);
  }
  for (const SequencePtr& sequence : running_) {
    if (sequence->reading()) add(*sequence);
  }
  return shares;
}

bool Scheduler::take(Sequence& sequence, const nvlm_sampled& sampled) {
  if (sampled.token < 0 || sampled.token >= model_.config().decoder.vocab) {
    give_back(sequence);
    fail(sequence.id,
         Error("internal",
               "The model's logits for token " + std::to_string(sequence.generated + 1) +
                   " of the answer are not finite numbers. The checkpoint may be damaged; compare its checksum."));
    return false;
  }
  bool goes_on = true;
  for (Event& event : accept(sequence, sampled, vocabulary_)) {
    if (event.type == Event::Type::finish) {
      end(sequence);
      goes_on = false;
    }
    emit_(std::move(event));
  }
  return goes_on;
}

// ---- How requests end ----

bool Scheduler::guarded(uint64_t id, const std::function<void()>& action) {
  const std::unique_ptr<Error> error = caught(action);
  if (!error) return true;
  fail(id, cancellation_.stopping() ? Error("closed",
                                            "The model was closed before the answer was complete. Load it again, and "
                                            "close it only when all answers have arrived.")
                                    : *error);
  return false;
}

void Scheduler::fail(uint64_t id, const Error& error) {
  cancellation_.leave(id);
  emit_(error_event(id, error));
}

void Scheduler::give_back(Sequence& sequence) {
  if (sequence.self_pages.empty()) return;  // was never admitted
  self_pages_.give_back(sequence.self_pages);
  images_.leave(sequence.images);
}

void Scheduler::end(Sequence& sequence) {
  give_back(sequence);
  cancellation_.leave(sequence.id);
}

void Scheduler::end_all(const Error& error) {
  for (const SequencePtr& sequence : running_) {
    give_back(*sequence);
    fail(sequence->id, error);
  }
  for (const SequencePtr& sequence : waiting_) fail(sequence->id, error);
  for (const EncodeJob& job : encoding_) fail(job.id, error);
  running_.clear();
  waiting_.clear();
  encoding_.clear();
}

Stats Scheduler::stats() const {
  Stats stats;
  stats.memory = model_.measured();
  stats.active_requests = static_cast<int>(waiting_.size() + running_.size() + encoding_.size());
  stats.images = images_.kept();
  stats.free_self_pages = self_pages_.available();
  stats.free_cross_pages = images_.free_pages();
  stats.encoded_tiles = images_.encoded_tiles();
  stats.cross_projections = images_.cross_projections();
  return stats;
}

}  // namespace nvlm
