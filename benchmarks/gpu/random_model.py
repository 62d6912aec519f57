"""A checkpoint with random weights in the shapes of real models. python3 random_model.py FOLDER FAMILY DECODER VISION

FAMILY: D, X or H. DECODER: tiny, 0.5b, 7b, 72b-layer (one layer of it). VISION: tiny, 300m, 6b-layer. Needs nothing but Python, and writes next to nothing:
the tensors' bytes are a hole in the file. What they would be is a hash of their place (random_weights.h, random_weights.py), mean + size * u, u evenly
from [-1, 1); both numbers stand for each tensor in the header's "__metadata__".
"""

import json
import os
import struct
import sys

DECODERS = {
    "tiny": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "intermediate_size": 136, "vocab_size": 512, "tie_word_embeddings": False},
    "0.5b": {"hidden_size": 896, "num_attention_heads": 14, "num_key_value_heads": 2, "num_hidden_layers": 24, "intermediate_size": 4864, "vocab_size": 151936, "tie_word_embeddings": True},
    "7b": {"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "num_hidden_layers": 28, "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False},
    "72b-layer": {"hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8, "num_hidden_layers": 1, "intermediate_size": 29568, "vocab_size": 152064, "tie_word_embeddings": False},
}
VISIONS = {
    "tiny": {"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 96, "image_size": 56, "qk_normalization": True, "qkv_bias": False, "norm_type": "rms_norm"},
    "300m": {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "intermediate_size": 4096, "image_size": 448, "qk_normalization": False, "qkv_bias": True, "norm_type": "layer_norm"},
    "6b-layer": {"hidden_size": 3200, "num_attention_heads": 25, "num_hidden_layers": 1, "intermediate_size": 12800, "image_size": 448, "qk_normalization": True, "qkv_bias": False, "norm_type": "rms_norm"},
}


def every_of(decoder):
    """Every eighth layer has cross attention, as in the 72B, where there are as many."""
    return max(1, min(8, decoder["num_hidden_layers"] // 2))


def config_of(family, decoder, vision):
    config = {
        "architectures": [f"NVLM_{family}"],
        "model_type": f"NVLM_{family}",
        "force_image_size": vision["image_size"],
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 6,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "chatml",
        "torch_dtype": "bfloat16",
        "vision_config": {"architectures": ["InternVisionModel"], "model_type": "intern_vit_6b", "patch_size": 14, "layer_norm_eps": 1e-6, "hidden_act": "gelu", **vision},
        "llm_config": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "max_position_embeddings": 32768,
            "hidden_act": "silu",
            "attention_bias": True,
            **decoder,
        },
    }
    if family != "D":
        heads = {key: decoder[key] for key in ("num_attention_heads", "num_key_value_heads")}
        config["cross_attention_config"] = {"every_n_layers": every_of(decoder), "gate": "tanh", **heads}
    return config


def tensors_of(family, d, v):
    """(name, shape, mean, root mean square about it)

    With norms around 1 and matrices of 1 / sqrt(columns), activations keep their size through all layers, and every weight matters to the logits. Scores of attention
    would spread by 1; where they spread by `sharp`, some keys weigh more than the mean of all of an image, and a key too few or a norm that is left out shows.
    """
    sharp = 2

    def matrix(name, rows, columns, size=1):
        return (name, [rows, columns], 0, size * columns**-0.5)

    def vector(name, length, size=0.02):
        return (name, [length], 0, size)

    def ones(name, length, mean=1):
        return (name, [length], mean, 0.125)

    wide, heads = d["hidden_size"], d["num_attention_heads"]
    kv = wide // heads * d["num_key_value_heads"]
    every = every_of(d)
    yield ("language_model.model.embed_tokens.weight", [d["vocab_size"], wide], 0, 1.0)
    for n in range(d["num_hidden_layers"]):
        at = f"language_model.model.layers.{n}."
        yield ones(at + "input_layernorm.weight", wide)
        for part, rows in (("q", wide), ("k", kv), ("v", kv)):
            yield matrix(f"{at}self_attn.{part}_proj.weight", rows, wide)
            yield vector(f"{at}self_attn.{part}_proj.bias", rows)
        yield matrix(at + "self_attn.o_proj.weight", wide, wide)
        if family != "D" and (n + 1) % every == 0:
            yield ones(at + "cross_attn_norm.weight", wide)
            for part, rows in (("q", wide), ("k", kv), ("v", kv), ("o", wide)):
                yield matrix(f"{at}cross_attn.{part}_proj.weight", rows, wide, sharp if part == "q" else 1)
            yield ones(at + "cross_attn_gate", 1)
        yield ones(at + "post_attention_layernorm.weight", wide)
        yield matrix(at + "mlp.gate_proj.weight", d["intermediate_size"], wide)
        yield matrix(at + "mlp.up_proj.weight", d["intermediate_size"], wide)
        yield matrix(at + "mlp.down_proj.weight", wide, d["intermediate_size"])
    yield ones("language_model.model.norm.weight", wide)
    if not d["tie_word_embeddings"]:
        yield matrix("language_model.lm_head.weight", d["vocab_size"], wide)

    width = v["hidden_size"]
    patches = (v["image_size"] // 14) ** 2
    norms = ("weight", "bias") if v["norm_type"] == "layer_norm" else ("weight",)
    yield ("vision_model.embeddings.class_embedding", [1, 1, width], 0, 0.5)
    yield ("vision_model.embeddings.patch_embedding.weight", [width, 3, 14, 14], 0, (3 * 14 * 14) ** -0.5)
    yield vector("vision_model.embeddings.patch_embedding.bias", width)
    yield ("vision_model.embeddings.position_embedding", [1, patches + 1, width], 0, 0.2)
    for n in range(v["num_hidden_layers"]):
        at = f"vision_model.encoder.layers.{n}."
        for norm in ("norm1", "norm2"):
            for part in norms:
                yield ones(at + f"{norm}.{part}", width) if part == "weight" else vector(at + f"{norm}.{part}", width)
        yield matrix(at + "attn.qkv.weight", 3 * width, width)
        if v["qkv_bias"]:
            yield vector(at + "attn.qkv.bias", 3 * width)
        if v["qk_normalization"]:
            yield ones(at + "attn.q_norm.weight", width, sharp)
            yield ones(at + "attn.k_norm.weight", width)
        yield matrix(at + "attn.proj.weight", width, width)
        yield vector(at + "attn.proj.bias", width)
        yield matrix(at + "mlp.fc1.weight", v["intermediate_size"], width)
        yield vector(at + "mlp.fc1.bias", v["intermediate_size"])
        yield matrix(at + "mlp.fc2.weight", width, v["intermediate_size"])
        yield vector(at + "mlp.fc2.bias", width)
        yield vector(at + "ls1", width, 0.2)
        yield vector(at + "ls2", width, 0.2)

    # The projector, width 4 v to the decoder's.
    yield ones("mlp1.0.weight", 4 * width)
    yield vector("mlp1.0.bias", 4 * width)
    yield matrix("mlp1.1.weight", wide, 4 * width)
    if family != "X":
        yield matrix("mlp1.3.weight", wide, wide)


def described(mean, deviation):
    """ "mean size" of values evenly around the mean: with a mean the size is a power of two (random_value in random_weights.h says why)."""
    size = struct.unpack("f", struct.pack("f", deviation if mean else 3**0.5 * deviation))[0]
    return f"{mean} {size!r}"


def write(folder, family, decoder, vision):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config_of(family, decoder, vision), file, indent=1)
    header, at = {"__metadata__": {}}, 0
    for name, shape, mean, deviation in tensors_of(family, decoder, vision):
        count = 2
        for side in shape:
            count *= side
        header["__metadata__"][name] = described(mean, deviation)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + count]}
        at += count
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        file.truncate(8 + len(words) + at)
    print(f"{at / 1e9:.2f} GB in {folder}, none of them written")


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], DECODERS[sys.argv[3]], VISIONS[sys.argv[4]])
