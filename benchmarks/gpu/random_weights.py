"""The weights of a checkpoint of random_model.py in PyTorch: the same numbers as random_weights.h makes, computed on the device."""

import json
import struct

import torch

PIECE = 1 << 26  # elements at a time: what lies between takes some 2 GB


def shifted(x, bits):
    """x >> bits of 64-bit numbers without sign (PyTorch's carry the sign along)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def signed(x):
    """A 64-bit constant as PyTorch's int64 has it; products wrap around as those without sign do."""
    return x - (1 << 64) if x >= 1 << 63 else x


def values(first, count, mean, size, device):
    """Elements [first, first + count) of the data section, as bf16."""
    out = torch.empty(count, dtype=torch.bfloat16, device=device)
    for begin in range(0, count, PIECE):
        end = min(count, begin + PIECE)
        z = torch.arange(first + begin + 1, first + end + 1, dtype=torch.int64, device=device)
        z *= signed(0x9E3779B97F4A7C15)  # SplitMix64
        z = (z ^ shifted(z, 30)) * signed(0xBF58476D1CE4E5B9)
        z = (z ^ shifted(z, 27)) * signed(0x94D049BB133111EB)
        z ^= shifted(z, 31)
        u = shifted(z, 40).to(torch.float32) * 2.0**-23 - 1
        out[begin:end] = u * size + mean
    return out


class Checkpoint:
    """Reads headers only. checkpoint["name"]: that tensor, bf16, made anew each time."""

    def __init__(self, folder, device):
        self.device = device
        with open(f"{folder}/config.json") as file:
            self.config = json.load(file)
        self.decoder = self.config["llm_config"]
        with open(f"{folder}/model.safetensors", "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            self.header = json.loads(file.read(length))

    def __contains__(self, name):
        return name in self.header

    def __getitem__(self, name):
        entry = self.header[name]
        first, last = entry["data_offsets"]
        mean, size = map(float, self.header["__metadata__"][name].split())
        return values(first // 2, (last - first) // 2, mean, size, self.device).reshape(entry["shape"])


def text_tokens(config, count):
    """Ids of the text prompts of model_times."""
    return [400 + i * 7919 % (config["vocab_size"] - 400) for i in range(count)]
