// What the tensors of a checkpoint are called, and the shape of each (spec section 2): the one place that encoder,
// projector, decoder and reconcile ask. Another layout of files is another function that fills these structs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nvlm {

struct ModelConfig;

// A pattern with the number of a layer in the place of "{i}".
std::string with_layer(const std::string& pattern, int layer);

struct TensorName {
  std::string pattern;         // full name; "{i}" stands for the number of the layer
  std::vector<int64_t> shape;  // of the whole tensor
  // Which of so many equal parts of its rows, where several weights share a tensor: q, k and v.
  int part = 0, parts = 1;

  std::string in_layer(int layer) const { return with_layer(pattern, layer); }
};

struct WeightAndBias {
  TensorName weight, bias;
};

struct EncoderNames {
  TensorName class_token, positions;
  WeightAndBias patch;
  std::string layer;  // what all names of a layer begin with
  WeightAndBias norm1, norm2;
  WeightAndBias q, k, v, proj;
  TensorName q_norm, k_norm;
  WeightAndBias fc1, fc2;
  TensorName ls1, ls2;
};

struct ProjectorNames {
  WeightAndBias norm;
  TensorName first, second;
};

struct DecoderNames {
  TensorName embed;
  TensorName attention_norm;
  WeightAndBias q, k, v;
  TensorName o;
  TensorName cross_norm, cross_q, cross_k, cross_v, cross_o, cross_gate;
  TensorName feed_forward_norm, gate, up, down;
  TensorName norm, head;
};

struct TensorNames {
  EncoderNames encoder;
  ProjectorNames projector;
  DecoderNames decoder;
};

// The layout of NVIDIA's files. Shapes follow a reconciled config; before that only the names count.
TensorNames nvlm_tensor_names(const ModelConfig& config);

}  // namespace nvlm
