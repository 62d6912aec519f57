// The CUDA kernels that move or normalise rows, in the emulator, against sums in double of the same bf16 inputs.
//
// What could break: a row's tail, rows wider than one piece a thread, reading a patch or a head of another row,
// in-place writes before the last read, the page and place of a slot, angles at far positions.
#include <cstdio>

#include "cuda/launchers.h"
#include "support/launcher_fixture.h"

using namespace nvlm;
using namespace nvlm::test;
using gpu::bf16;

namespace {

// Sums in double; `limit` per element from the magnitudes that were added.
void rms_row(const bf16* in, const float* w, int64_t n, double divisor, double eps, double* out, double* limit) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(to_float(in[i])) * to_float(in[i]);
  const double scale = 1 / std::sqrt(squares / divisor + eps);
  for (int64_t i = 0; i < n; ++i) {
    out[i] = to_float(in[i]) * scale * w[i];
    limit[i] = std::abs(out[i]) * (kRound + (n / 2 + 8) * kFloat) + 1e-30;  // the root halves the sum's relative error
  }
}

void layer_norm_row(const bf16* in, const float* w, const float* bias, int64_t n, double eps, double* out,
                    double* limit) {
  double mean = 0, size = 0, variance = 0;
  for (int64_t i = 0; i < n; ++i) mean += to_float(in[i]), size += std::abs(to_float(in[i]));
  mean /= n, size /= n;
  for (int64_t i = 0; i < n; ++i) variance += (to_float(in[i]) - mean) * (to_float(in[i]) - mean);
  const double scale = 1 / std::sqrt(variance / n + eps);
  for (int64_t i = 0; i < n; ++i) {
    const double normal = (to_float(in[i]) - mean) * scale * w[i];
    out[i] = normal + bias[i];
    limit[i] = std::abs(out[i]) * kRound + (std::abs(normal) + std::abs(bias[i])) * (n / 2 + 8) * kFloat +
               size * scale * std::abs(w[i]) * n * kFloat + 1e-30;
  }
}

void norms(gpu::Stream stream, std::mt19937_64& random, int64_t rows, int64_t cols, int32_t true_width) {
  const std::vector<bf16> in = random_bf16(random, rows * cols);
  const std::vector<float> w = random_floats(random, cols, 1, 0.3f), bias = random_floats(random, cols);
  const DeviceArray<bf16> d_in(in, stream), d_out(rows * cols, stream);
  const DeviceArray<float> d_w(w, stream), d_bias(bias, stream);
  const gpu::DeviceWeight weight = vector_of(d_w), shift = vector_of(d_bias);
  LauncherFixture f(stream);
  f.record.c.eps = 1e-6f, f.record.c.true_width = true_width;
  f.op.in = d_in.get(), f.op.in_rows = f.op.out_rows = rows, f.op.in_cols = f.op.out_cols = cols,
  f.op.out = d_out.get(), f.op.w = &weight, f.op.bias = &shift;
  std::vector<double> expected(rows * cols), limit(rows * cols);
  const std::string shape = std::to_string(rows) + " x " + std::to_string(cols);

  expect_ok(gpu::enqueue_rms_norm(f.op), "rms_norm");
  for (int64_t r = 0; r < rows; ++r)
    rms_row(&in[r * cols], w.data(), cols, true_width ? true_width : cols, 1e-6, &expected[r * cols], &limit[r * cols]);
  within(d_out.read(), expected, limit, cols, "rms_norm " + shape);

  expect_ok(gpu::fill(d_out.get(), 0xff, rows * cols * 2, stream), "fill");
  expect_ok(gpu::enqueue_layer_norm(f.op), "layer_norm");
  for (int64_t r = 0; r < rows; ++r)
    layer_norm_row(&in[r * cols], w.data(), bias.data(), cols, 1e-6, &expected[r * cols], &limit[r * cols]);
  within(d_out.read(), expected, limit, cols, "layer_norm " + shape);
}

void qk_norm(gpu::Stream stream, std::mt19937_64& random, int64_t rows, int64_t width, int32_t true_width) {
  const int64_t cols = 3 * width;
  const std::vector<bf16> qkv = random_bf16(random, rows * cols);
  const std::vector<float> wq = random_floats(random, width, 1, 0.3f), wk = random_floats(random, width, 1, 0.3f);
  const DeviceArray<bf16> d(qkv, stream);
  const DeviceArray<float> d_wq(wq, stream), d_wk(wk, stream);
  const gpu::DeviceWeight q = vector_of(d_wq), k = vector_of(d_wk);
  LauncherFixture f(stream);
  f.record.c.eps = 1e-6f, f.record.c.true_width = true_width;
  f.op.out = d.get(), f.op.out_rows = rows, f.op.out_cols = cols, f.op.q_norm = &q, f.op.k_norm = &k;
  expect_ok(gpu::enqueue_qk_norm(f.op), "qk_norm");
  std::vector<double> expected(rows * cols), limit(rows * cols, 0.0);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * cols;
    rms_row(&qkv[at], wq.data(), width, true_width ? true_width : width, 1e-6, &expected[at], &limit[at]);
    rms_row(&qkv[at + width], wk.data(), width, true_width ? true_width : width, 1e-6, &expected[at + width],
            &limit[at + width]);
    // Untouched.
    for (int64_t i = 2 * width; i < cols; ++i) expected[at + i] = to_float(qkv[at + i]), limit[at + i] = 1e-30;
  }
  within(d.read(), expected, limit, cols, "qk_norm " + std::to_string(rows) + " x " + std::to_string(width));
}

void pixel_shuffle(gpu::Stream stream, std::mt19937_64& random, int64_t tiles, int32_t grid, int32_t ratio, int64_t n,
                   int32_t transpose) {
  const int64_t side = grid / ratio, cols = ratio * ratio * n, rows = tiles * side * side, each = grid * grid + 1;
  const std::vector<bf16> in = random_bf16(random, tiles * each * n);
  const std::vector<float> w = random_floats(random, cols, 1, 0.3f), bias = random_floats(random, cols);
  const DeviceArray<bf16> d_in(in, stream), d_out(rows * cols, stream);
  const DeviceArray<float> d_w(w, stream), d_bias(bias, stream);
  const gpu::DeviceWeight weight = vector_of(d_w), shift = vector_of(d_bias);
  LauncherFixture f(stream);
  f.record.c.eps = 1e-5f, f.record.c.grid = grid, f.record.c.ratio = ratio, f.record.c.transpose = transpose;
  f.batch.tiles = tiles;
  f.op.in = d_in.get(), f.op.in_rows = tiles * each, f.op.in_cols = n, f.op.out = d_out.get(), f.op.out_rows = rows,
  f.op.out_cols = cols, f.op.w = &weight, f.op.bias = &shift;
  expect_ok(gpu::enqueue_pixel_shuffle_norm(f.op), "pixel_shuffle_norm");
  std::vector<double> expected(rows * cols), limit(rows * cols);
  std::vector<bf16> row(cols);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t tile = r / (side * side), token = r % (side * side);
    const int64_t y = transpose ? token % side : token / side, x = transpose ? token / side : token % side;
    for (int64_t i = 0; i < cols; ++i) {
      const int64_t dy = i / n / ratio, dx = i / n % ratio;
      row[i] = in[(tile * each + 1 + (y * ratio + dy) * grid + x * ratio + dx) * n + i % n];
    }
    layer_norm_row(row.data(), w.data(), bias.data(), cols, 1e-5, &expected[r * cols], &limit[r * cols]);
  }
  within(d_out.read(), expected, limit, cols,
         "pixel_shuffle_norm grid " + std::to_string(grid) + " ratio " + std::to_string(ratio) + " n " +
             std::to_string(n));
}

struct Cache {
  gpu::KvCache kv;
  DeviceArray<bf16> memory;
  Cache(int32_t layers, int32_t pages, int32_t kv_heads, int32_t d, gpu::Stream stream)
      : kv{nullptr, layers, pages, kv_heads, d},
        memory(static_cast<size_t>(layers) * 2 * pages * kv_heads * NVLM_PAGE_KEYS * d, stream) {
    kv.memory = memory.get();
  }
  int64_t at(int32_t layer, bool value, int64_t slot, int32_t head) const {
    return (((int64_t{2} * layer + value) * kv.pages + slot / NVLM_PAGE_KEYS) * kv.kv_heads + head) * NVLM_PAGE_KEYS *
               kv.head_dim +
           slot % NVLM_PAGE_KEYS * kv.head_dim;
  }
};

void rope(gpu::Stream stream, std::mt19937_64& random, int32_t heads, int32_t kv_heads, int32_t d, float theta) {
  const std::vector<int32_t> position{0, 1, 777, 32767, 32768, 131071};
  const std::vector<int64_t> slot{3 * 64 + 63, 64, 0, 2 * 64 + 17, 5, 65};
  const int64_t rows = static_cast<int64_t>(position.size()), all = heads + 2 * kv_heads, cols = all * d;
  const std::vector<bf16> qkv = random_bf16(random, rows * cols);
  const DeviceArray<bf16> d_qkv(qkv, stream);
  const DeviceArray<int32_t> d_position(position, stream);
  const DeviceArray<int64_t> d_slot(slot, stream);
  const Cache cache(2, 4, kv_heads, d, stream);
  LauncherFixture f(stream);
  nvlm_constants& c = f.record.c;
  c.heads = heads, c.kv_heads = kv_heads, c.head_dim = d, c.rope_theta = theta, c.layer = 1;
  f.batch.position = d_position.get(), f.batch.kv_slot = d_slot.get();
  f.op.out = d_qkv.get(), f.op.out_rows = rows, f.op.out_cols = cols, f.op.self_kv = cache.kv;
  expect_ok(gpu::enqueue_rope_kv_write(f.op), "rope_kv_write");

  std::vector<double> expected(rows * cols), limit(rows * cols, 1e-30);
  for (int64_t i = 0; i < rows * cols; ++i) expected[i] = to_float(qkv[i]);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < heads + kv_heads; ++h) {
      for (int32_t i = 0; i < d / 2; ++i) {
        const auto angle = static_cast<float>(position[r] * std::pow(static_cast<double>(theta), -2.0 * i / d));
        const double cosine = std::cos(static_cast<double>(angle)), sine = std::sin(static_cast<double>(angle));
        const int64_t x = r * cols + h * d + i, y = x + d / 2;
        const double a = expected[x], b = expected[y];
        expected[x] = a * cosine - b * sine, expected[y] = b * cosine + a * sine;
        // Sine and cosine within 2^-22, two products and a sum in float, rounding to bf16.
        limit[x] = std::abs(expected[x]) * kRound + (std::abs(a) + std::abs(b)) * 7 * kFloat + 1e-30;
        limit[y] = std::abs(expected[y]) * kRound + (std::abs(a) + std::abs(b)) * 7 * kFloat + 1e-30;
      }
    }
  }
  const std::string shape = std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads of " + std::to_string(d);
  const std::vector<bf16> got = d_qkv.read(), memory = cache.memory.read();
  within(got, expected, limit, cols, "rope " + shape);
  // The pages hold what the activation holds, and nothing else was written.
  std::vector<bf16> pages(memory.size(), bf16{0xffff});
  for (int64_t r = 0; r < rows; ++r) {
    for (int32_t h = 0; h < kv_heads; ++h) {
      for (int32_t i = 0; i < d; ++i) {
        pages[cache.at(1, false, slot[r], h) + i] = got[r * cols + (heads + h) * d + i];
        pages[cache.at(1, true, slot[r], h) + i] = got[r * cols + (heads + kv_heads + h) * d + i];
      }
    }
  }
  same_bits(memory, pages, d, "kv pages, rope, " + shape);

  // The same rows without rope, as cross keys.
  const Cache cross(2, 4, kv_heads, d, stream);
  const int64_t width = int64_t{2} * kv_heads * d;
  const std::vector<bf16> kv = random_bf16(random, rows * width);
  const DeviceArray<bf16> d_kv(kv, stream);
  f.op.in = d_kv.get(), f.op.in_rows = rows, f.op.in_cols = width, f.op.out = nullptr, f.op.cross_kv = cross.kv;
  expect_ok(gpu::enqueue_kv_write(f.op), "kv_write");
  pages.assign(pages.size(), bf16{0xffff});
  for (int64_t r = 0; r < rows; ++r) {
    for (int32_t h = 0; h < kv_heads; ++h) {
      for (int32_t i = 0; i < d; ++i) {
        pages[cross.at(1, false, slot[r], h) + i] = kv[r * width + h * d + i];
        pages[cross.at(1, true, slot[r], h) + i] = kv[r * width + (kv_heads + h) * d + i];
      }
    }
  }
  same_bits(cross.memory.read(), pages, d, "kv pages, kv_write, " + shape);
}

void rows_of(gpu::Stream stream, std::mt19937_64& random, int64_t n) {
  const int64_t vocab = 11, pitch = n + 8, images = 3;
  const std::vector<bf16> table = random_bf16(random, vocab * pitch), image = random_bf16(random, images * n);
  const DeviceArray<bf16> d_table(table, stream), d_image(image, stream);
  const std::vector<int32_t> token{10, 0, -1, 4, -1, 10};
  const std::vector<int32_t> source{-1, -1, 2, -1, 0, -1};
  const int64_t rows = static_cast<int64_t>(token.size());
  std::vector<const bf16*> pointers;
  std::vector<bf16> expected;
  for (int64_t r = 0; r < rows; ++r) {
    pointers.push_back(source[r] < 0 ? nullptr : d_image.get() + source[r] * n);
    const bf16* from = source[r] < 0 ? &table[token[r] * pitch] : &image[source[r] * n];
    expected.insert(expected.end(), from, from + n);
  }
  const DeviceArray<int32_t> d_token(token, stream);
  const DeviceArray<const bf16*> d_source(pointers, stream);
  const DeviceArray<bf16> d_out(rows * n, stream);
  const gpu::DeviceWeight weight{NVLM_TABLE, false, vocab, n, pitch, d_table.get()};
  LauncherFixture f(stream);
  f.batch.token = d_token.get(), f.batch.source = d_source.get();
  f.op.out = d_out.get(), f.op.out_rows = rows, f.op.out_cols = n, f.op.w = &weight;
  expect_ok(gpu::enqueue_embed(f.op), "embed");
  same_bits(d_out.read(), expected, n, "embed " + std::to_string(n));

  // Without sources: tokens alone.
  const std::vector<int32_t> words{3, 3, 7};
  const DeviceArray<int32_t> d_words(words, stream);
  const DeviceArray<bf16> d_embedded(words.size() * n, stream);
  std::vector<bf16> embedded;
  for (const int32_t word : words) embedded.insert(embedded.end(), &table[word * pitch], &table[word * pitch] + n);
  f.batch.token = d_words.get(), f.batch.source = nullptr;
  f.op.out = d_embedded.get(), f.op.out_rows = static_cast<int64_t>(words.size());
  expect_ok(gpu::enqueue_embed(f.op), "embed");
  same_bits(d_embedded.read(), embedded, n, "embed of tokens " + std::to_string(n));

  const std::vector<int32_t> wanted{5, 2, 2, 0};
  const DeviceArray<int32_t> d_wanted(wanted, stream);
  const DeviceArray<bf16> d_gathered(wanted.size() * n, stream);
  f.batch.out_row = d_wanted.get();
  f.op.in = d_out.get(), f.op.in_rows = rows, f.op.in_cols = n, f.op.out = d_gathered.get(),
  f.op.out_rows = static_cast<int64_t>(wanted.size());
  expect_ok(gpu::enqueue_gather_rows(f.op), "gather_rows");
  std::vector<bf16> gathered;
  for (const int32_t row : wanted) gathered.insert(gathered.end(), &expected[row * n], &expected[row * n] + n);
  same_bits(d_gathered.read(), gathered, n, "gather_rows " + std::to_string(n));
}

}  // namespace

int main() {
  std::printf("kernels %s memory hooks\n", emulator::instrumented() ? "with" : "without");
  const emulator::Completion completions[] = {emulator::Completion::early, emulator::Completion::late,
                                              emulator::Completion::random};
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    emulator::Settings settings;
    settings.seed = seed, settings.completion = completions[seed - 1];
    std::mt19937_64 random(seed);
    const auto with = [&](const char* name, const auto& body) {
      run(name, [&] { on_device(settings, std::string(name) + ", seed " + std::to_string(seed), body); });
    };
    with("norms over a row", [&](gpu::Stream stream) {
      norms(stream, random, 3, 896, 0);
      norms(stream, random, 2, 3200, 0);  // InternViT-6B
      norms(stream, random, 1, 8192, 0);  // 72B
      norms(stream, random, 2, 8, 0);
      norms(stream, random, 2, 264, 250);  // one piece more than a warp; dummy columns
      norms(stream, random, 1, 4104, 0);   // one piece more than 512 threads
      norms(stream, random, 1, 16392, 0);  // eight pieces a thread
    });
    with("norms of q and k", [&](gpu::Stream stream) {
      qk_norm(stream, random, 3, 1024, 0);
      qk_norm(stream, random, 2, 3200, 0);
      qk_norm(stream, random, 2, 512, 400);
    });
    with("pixel shuffle", [&](gpu::Stream stream) {
      pixel_shuffle(stream, random, 2, 4, 2, 1024, 1);
      pixel_shuffle(stream, random, 1, 4, 2, 3200, 1);
      pixel_shuffle(stream, random, 3, 6, 2, 8, 0);
      pixel_shuffle(stream, random, 1, 9, 3, 16, 1);
      pixel_shuffle(stream, random, 2, 2, 1, 24, 0);
    });
    with("rope and kv pages", [&](gpu::Stream stream) {
      rope(stream, random, 8, 2, 128, 1e6f);
      rope(stream, random, 14, 2, 64, 1e6f);
      rope(stream, random, 2, 1, 80, 1e4f);
      rope(stream, random, 3, 1, 72, 1e4f);  // half a head is no multiple of 8
      rope(stream, random, 1, 1, 8, 1e4f);
      rope(stream, random, 1, 1, 1032, 1e4f);
    });
    with("rows by number", [&](gpu::Stream stream) {
      rows_of(stream, random, 896);
      rows_of(stream, random, 8);
      rows_of(stream, random, 1032);
    });
  }
  return summary();
}
