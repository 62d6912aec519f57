"""InternViT, pixel shuffle and projector by their definition, in PyTorch alone: what check_logits.py expects of tiles, and a rival in encoder_rival.py."""

import torch
import torch.nn.functional as F
from qwen2 import attention, rms_norm

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PROJECTOR_EPS = 1e-5


class InternVit:
    """weight(name): as in qwen2.py. Called with bytes [tiles, side, side, 3] it returns [tiles, tokens, width of the decoder]; no tile sees another.

    config is one of random_model.py: the last layer's state, ps_version v2.
    """

    def __init__(self, config, weight, dtype, device):
        self.config, self.weight, self.dtype = config["vision_config"], weight, dtype
        self.mean, self.deviation = (torch.tensor(values, device=device) for values in (MEAN, DEVIATION))
        self.deep_projector = config["architectures"] != ["NVLM_X"]

    def linear(self, x, name, bias=True):
        return F.linear(x, self.weight(name + ".weight"), self.weight(name + ".bias") if bias else None)

    def norm(self, x, name):
        weight, eps = self.weight(name + ".weight"), self.config["layer_norm_eps"]
        if self.config["norm_type"] == "rms_norm":
            return rms_norm(x, weight, eps)
        return F.layer_norm(x, x.shape[-1:], weight, self.weight(name + ".bias"), eps)

    def normalised(self, pixels):
        """[tiles, 3, side, side]"""
        return ((pixels.float() / 255 - self.mean) / self.deviation).permute(0, 3, 1, 2).to(self.dtype)

    def embedded(self, x):
        """[tiles, 1 + patches, width], the class token first."""
        at, side = "vision_model.embeddings.", self.config["patch_size"]
        tiles, grid = x.shape[0], x.shape[2] // side
        # A product in place of a convolution, whose float32 would be TF32 on a GPU.
        x = x.reshape(tiles, 3, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5).reshape(tiles, grid * grid, -1)
        x = F.linear(x, self.weight(at + "patch_embedding.weight").flatten(1), self.weight(at + "patch_embedding.bias"))
        x = torch.cat((self.weight(at + "class_embedding").expand(tiles, 1, -1), x), 1)
        return x + self.weight(at + "position_embedding")

    def attended(self, h, at):
        tiles, rows, width = h.shape
        heads = self.config["num_attention_heads"]
        q, k, v = self.linear(h, at + "qkv", self.config["qkv_bias"]).chunk(3, -1)
        if self.config["qk_normalization"]:  # over all heads together, by the width without dummy heads
            q, k = (rms_norm(x, self.weight(f"{at}{name}_norm.weight"), self.config["layer_norm_eps"], width) for x, name in ((q, "q"), (k, "k")))
        # Heads of one tile share no keys with those of another: all of them are heads of one.
        q, k, v = (x.reshape(tiles, rows, -1, width // heads).transpose(1, 2).flatten(0, 1) for x in (q, k, v))
        seen = attention(q, k, v).reshape(tiles, -1, rows, width // heads)
        return self.linear(seen.transpose(1, 2).flatten(2), at + "proj")

    def features(self, pixels):
        """[tiles, patches, width]"""
        x = self.embedded(self.normalised(pixels))
        for layer in range(self.config["num_hidden_layers"]):
            at = f"vision_model.encoder.layers.{layer}."
            x = x + self.weight(at + "ls1") * self.attended(self.norm(x, at + "norm1"), at + "attn.")
            h = F.gelu(self.linear(self.norm(x, at + "norm2"), at + "mlp.fc1"))
            x = x + self.weight(at + "ls2") * self.linear(h, at + "mlp.fc2")
        return x[:, 1:]

    def projected(self, x):
        """Four neighbouring patches become one token: top left, top right, bottom left, bottom right."""
        tiles, patches, width = x.shape
        grid = int(patches**0.5) // 2
        x = x.reshape(tiles, grid, 2, grid, 2, width).permute(0, 1, 3, 2, 4, 5).reshape(tiles, grid * grid, 4 * width)
        x = F.layer_norm(x, x.shape[-1:], self.weight("mlp1.0.weight"), self.weight("mlp1.0.bias"), PROJECTOR_EPS)
        x = self.linear(x, "mlp1.1", bias=False)
        return self.linear(F.gelu(x), "mlp1.3", bias=False) if self.deep_projector else x

    def __call__(self, pixels):
        return self.projected(self.features(pixels))
