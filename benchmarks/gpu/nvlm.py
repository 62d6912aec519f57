"""NVLM-D, X and H by their definition, over qwen2.py and internvit.py: what check_logits.py expects of a prompt with or without an image.

Which positions are the image's, and who attends to what across, is found again in the ids of the prompt: model_times hands over nothing else but pixels.
"""

import torch
import torch.nn.functional as F
from internvit import InternVit
from qwen2 import Qwen2, attention

# Ids of the marks in the prompts of model_times: "<|vision_pad|>", "</Image>", "<tile_global_thumbnail>" and "<tile_k>".
PAD, IMAGE_END, THUMBNAIL_TAG = 383, [282, 263, 29], [259, 281, 280, 29]


def tile_tag(k):
    return [259, 62, 15 + k, 29]


def behind(ids, mark, begin=0):
    """Position behind the first `mark` from `begin` on."""
    for at in range(begin, len(ids) - len(mark) + 1):
        if ids[at : at + len(mark)] == mark:
            return at + len(mark)
    raise ValueError(f"{mark} is not in the prompt")


class Nvlm(Qwen2):
    """Of one whole sequence, ids [n]; pixels: bytes of its image, [tiles, side, side, 3] with the thumbnail last, or None."""

    def __init__(self, config, weight, dtype, ids, pixels):
        super().__init__(config["llm_config"], lambda name: weight("language_model." + name), dtype, ids.device, len(ids))
        self.family = config["architectures"][0][-1]
        self.every = config["cross_attention_config"]["every_n_layers"] if self.family != "D" else None
        self.image = self.across = self.seen = None
        if pixels is None:
            return
        tiles = InternVit(config, weight, dtype, ids.device)(pixels)
        if self.family == "D":
            self.image = tiles.flatten(0, 1)
        elif self.family == "H":
            self.image = tiles[-1]
        if self.family == "X":
            self.across = tiles.flatten(0, 1)
        elif self.family == "H" and len(tiles) > 1:
            tags = torch.tensor([tile_tag(k) for k in range(1, len(tiles))], device=ids.device)
            self.across = torch.cat((super().embedded(tags), tiles[:-1]), 1).flatten(0, 1)
        if self.across is not None:
            self.seen = self.mask(ids.tolist(), *tiles.shape[:2])

    def mask(self, ids, tiles, tokens):
        """[n, across]: text behind the image sees all of it; in X a tile's tag, which stands before the end, sees its tile."""
        seen = torch.zeros(len(ids), len(self.across), dtype=torch.bool, device=self.across.device)
        seen[behind(ids, IMAGE_END) :] = True
        at = 0
        for tile in range(tiles if self.family == "X" else 0):
            tag = THUMBNAIL_TAG if tile == tiles - 1 else tile_tag(tile + 1)
            at = behind(ids, tag, at)
            seen[at - len(tag) : at, tile * tokens : (tile + 1) * tokens] = True
        return seen

    def embedded(self, ids):
        x = super().embedded(ids)
        if self.image is not None:
            x[ids == PAD] = self.image
        return x

    def between(self, x, layer):
        """Gated cross-attention: no rotary positions, no biases, keys and values of the tokens as they are."""
        if self.across is None or (layer + 1) % self.every:
            return x
        at = f"model.layers.{layer}."
        q = self.heads(self.norm(x, at + "cross_attn_norm.weight"), at + "cross_attn.q_proj", bias=False)
        k, v = (self.heads(self.across, f"{at}cross_attn.{name}_proj", bias=False) for name in "kv")
        some = self.seen.any(-1, keepdim=True)  # what sees nothing gets zero
        got = attention(q, k, v, self.seen | ~some).transpose(0, 1).reshape(x.shape) * some
        return x + torch.tanh(self.weight(at + "cross_attn_gate")) * F.linear(got, self.weight(at + "cross_attn.o_proj.weight"))
