// embed, gather_rows. What could break: stored types, a tied head's layout, rows from images among tokens, first and
// last row of the table, rows taken twice. Bit for bit, and the reference itself against the values from which the
// table was made.
#include <memory>

#include "cases/cases.h"

namespace nvlm::test {
namespace {

enum class Rows { kTokens, kMixed, kImages };

OpCase embed_case(int64_t rows, int64_t vocab, int64_t n, nvlm_dtype dtype, Rows kind,
                  nvlm_weight_use use = NVLM_TABLE) {
  OpCase c;
  c.name = "embed " + std::to_string(rows) + " of " + std::to_string(vocab) + "x" + std::to_string(n) + " " +
           dtype_name(dtype) +
           (kind == Rows::kTokens  ? ""
            : kind == Rows::kMixed ? " with image rows"
                                   : ", all image rows") +
           (use == NVLM_MATRIX ? ", tied" : "");
  Random random(c.name);
  c.batch.rows = rows;
  c.record.op = NVLM_EMBED;
  const Weight table = matrix_weight(random, use, {vocab}, n, dtype);
  c.record.w = c.add(table);
  c.record.out = c.add(Tensor{NVLM_ROWS, 1, n, {}});
  for (int64_t r = 0; r < rows; ++r)
    c.batch.token.push_back(static_cast<int32_t>(r == 0 ? 0 : r == 1 ? vocab - 1 : random.below(vocab)));
  c.bytes = static_cast<double>(rows * n) * (dtype == NVLM_F32 ? 8 : 6);
  const auto image = std::make_shared<std::vector<float>>(random.uniforms(rows * n));
  for (int64_t r = 0; kind != Rows::kTokens && r < rows; ++r)
    c.batch.source.push_back(kind == Rows::kImages || r % 3 == 1 ? image->data() + r * n : nullptr);
  const std::vector<const void*> source = c.batch.source;
  const std::vector<int32_t> tokens = c.batch.token;
  // An image row's token is not looked at: no token at all among tokens; but another row of the table where all are
  // images, so that taking it is seen and not a crash.
  for (size_t r = 0; kind == Rows::kMixed && r < source.size(); ++r) {
    if (source[r]) c.batch.token[r] = -1;
  }
  c.bounds = [=](const std::vector<float>& truth) {  // holds the image's rows while the case lives
    Bounds b{std::vector<double>(truth.size(), 0), std::vector<double>(truth.size(), 1), 0};
    for (size_t i = 0; i < truth.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) / n, column = static_cast<int64_t>(i) % n,
                    token = tokens[static_cast<size_t>(row)];
      const float expected = !source.empty() && source[static_cast<size_t>(row)]
                                 ? (*image)[i]
                                 : table.values[static_cast<size_t>(token * n + column)];
      if (truth[i] != expected) b.limit[i] = -1;  // the reference is wrong: nothing can pass
    }
    return b;
  };
  return c;
}

}  // namespace

OpCase gather_rows_case(int64_t rows, const std::vector<int32_t>& out_rows, int64_t n) {
  OpCase c;
  c.name = "gather_rows " + std::to_string(out_rows.size()) + " of " + std::to_string(rows) + "x" + std::to_string(n);
  Random random(c.name);
  c.batch.rows = rows;
  c.batch.outs = static_cast<int64_t>(out_rows.size());
  c.batch.out_row = out_rows;
  c.record.op = NVLM_GATHER_ROWS;
  c.record.in = c.add(Tensor{NVLM_ROWS, 1, n, random.uniforms(rows * n)});
  c.record.out = c.add(Tensor{NVLM_OUTS, 1, n, {}});
  c.bytes = 8.0 * static_cast<double>(c.batch.outs * n);
  return c;
}

OpCase embed_tokens_case(int64_t rows, int64_t vocab, int64_t n, nvlm_dtype dtype) {
  return embed_case(rows, vocab, n, dtype, Rows::kTokens);
}

std::vector<OpCase> embed_cases() {
  std::vector<OpCase> cases = {gather_rows_case(5, {4, 0, 4}, 33), gather_rows_case(1, {0}, 1),
                               gather_rows_case(9, {}, 8),         gather_rows_case(9, {8, 0, 3, 3}, 1032),
                               gather_rows_case(5, {4, 0, 4}, 40), gather_rows_case(1, {0}, 8)};
  for (const nvlm_dtype type : {NVLM_F32, NVLM_BF16, NVLM_F16}) {
    for (const Rows kind : {Rows::kImages, Rows::kTokens, Rows::kMixed}) {
      for (const int64_t n : {1, 8}) cases.push_back(embed_case(1, 1, n, type, kind));
      for (const int64_t n : {37, 40}) cases.push_back(embed_case(50, 31, n, type, kind));
      cases.push_back(embed_case(7, 31, 1032, type, kind));
    }
    cases.push_back(embed_case(50, 31, 37, type, Rows::kMixed, NVLM_MATRIX));
    cases.push_back(embed_case(20, 48, 136, type, Rows::kTokens, NVLM_MATRIX));
  }
  cases.push_back(embed_case(5, kLargestVocabulary, 8, NVLM_BF16, Rows::kTokens));
  return cases;
}

}  // namespace nvlm::test
