"""What the encoder of a checkpoint of random_model.py takes in PyTorch: same weights, bf16, SDPA, all tiles at once, projector included.

python3 encoder_rival.py FOLDER OUT.json [--device cpu] [--tiny] [--without-transformers]

Tiles are on the device already, and all launches are one CUDA graph (rivals.py): its best case. InternViT is InternVLVisionModel of Hugging Face
transformers; where it is missing or does not take the shape, internvit.py stands in, and "rival" says so. Pixels before and the projector behind are
internvit.py's. "error" tells how far the tokens are from those of internvit.py in float32, so that both are known to be the same model; "limit" how far
they may be: twice as far as internvit.py's own in bf16 (check_logits.py says why). report.py takes no time of one that is further off.
"""

import json

import torch
from check_logits import FACTOR, error, finite
from internvit import InternVit
from random_weights import Checkpoint
from rivals import model_arguments, seconds

RENAMED = {
    "embeddings.class_embedding": "embeddings.cls_token",
    "embeddings.patch_embedding": "embeddings.patch_embeddings.projection",
    "embeddings.position_embedding": "embeddings.position_embeddings",
    "encoder.layers": "encoder.layer",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj.": "attention.projection_layer.",
    "attn.": "attention.",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
}


def names_in_transformers(tensors):
    """As transformers names them, (name, tensor); queries, keys and values are apart there."""
    for name, tensor in tensors.items():
        for ours, theirs in RENAMED.items():
            name = name.replace(ours, theirs)
        if ".qkv." in name:
            for part, rows in zip("qkv", tensor.chunk(3)):
                yield name.replace(".qkv.", f".{part}_proj."), rows
        else:
            yield name, tensor


class StandIn(InternVit):
    name = "internvit.py over SDPA (without transformers)"

    def __init__(self, checkpoint, weights):
        super().__init__(checkpoint.config, weights.__getitem__, torch.bfloat16, checkpoint.device)


class Transformers(StandIn):
    def __init__(self, checkpoint, weights):
        import transformers

        super().__init__(checkpoint, weights)
        self.name = f"transformers {transformers.__version__}"
        same = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "image_size", "patch_size", "layer_norm_eps", "norm_type", "hidden_act")
        config = transformers.InternVLVisionConfig(
            **{key: self.config[key] for key in same},
            attention_bias=self.config["qkv_bias"],
            use_qk_norm=self.config["qk_normalization"],
            use_mean_pooling=True,  # so that no norm stands behind the last layer
        )
        config._attn_implementation = "sdpa"
        with torch.device(checkpoint.device):
            self.model = transformers.InternVLVisionModel(config).to(torch.bfloat16).eval()
        vision = {name.removeprefix("vision_model."): tensor for name, tensor in weights.items() if name.startswith("vision_model.")}
        self.model.load_state_dict(dict(names_in_transformers(vision)))

    def features(self, pixels):
        return self.model(self.normalised(pixels)).last_hidden_state[:, 1:]


def measure(kind, checkpoint, options):
    weights = {name: checkpoint[name] for name in checkpoint.header if name.startswith(("vision_model.", "mlp1."))}
    side = checkpoint.config["force_image_size"]
    pixels = torch.randint(256, (2 if options.tiny else 7, side, side, 3), dtype=torch.uint8, device=options.device)
    model = kind(checkpoint, weights)
    narrow = StandIn(checkpoint, weights)
    wide = InternVit(checkpoint.config, lambda name: weights[name].float(), torch.float32, options.device)
    expected = wide(pixels[:1])
    return {
        "rival": model.name,
        "torch": torch.__version__,
        "tiles": len(pixels),
        "error": finite(error(model(pixels[:1]).float(), expected)),
        "limit": FACTOR * error(narrow(pixels[:1]).float(), expected),
        "encode_ms": seconds(lambda _: model(pixels), 1, options.device) * 1e3,
    }


def main():
    options = model_arguments("two tiles").parse_args()
    checkpoint = Checkpoint(options.folder, options.device)
    with torch.inference_mode():
        line = None
        if not options.without_transformers:
            try:
                line = measure(Transformers, checkpoint, options)
            except Exception as problem:  # not installed, too old, of another shape, or nothing that a graph can record
                print(f"not in transformers: {type(problem).__name__}: {problem}")
        line = line or measure(StandIn, checkpoint, options)
    print(line)
    with open(options.out, "w") as file:
        json.dump(line, file)


if __name__ == "__main__":
    main()
