"""Are the logits of model_times --logits those of the same weights in PyTorch? python3 check_logits.py FOLDER LOGITS OUT.json [--device cpu]

Expected: Qwen2 in float32 (qwen2.py) from the same random weights, over the whole text at once; LOGITS come from a prompt and single steps behind it, through
bf16. How far bf16 leads away is measured, not guessed: the same definition runs in bf16 too, and LOGITS may be off by twice as much (their errors are
as many roundings of as many values in another order; root mean squares over a vocabulary repeat within some 20 %). Errors are root mean square, as a
share of the expected logits', of the worst position. Exit code 1: they are further off, or not finite. OUT without .json, and with .expected, keeps what was expected.
"""

import argparse
import json
import sys

import torch
from qwen2 import Qwen2
from random_weights import Checkpoint, text_tokens

TEXT, STEPS = 40, 4  # as in model_times.cc
FACTOR = 2


def error(got, expected):
    relative = ((got - expected).square().mean(-1) / expected.square().mean(-1)).sqrt()
    return float("nan") if not torch.isfinite(relative).all() else relative.max().item()


def forward(checkpoint, dtype):
    def weight(name):
        return checkpoint["language_model." + name].to(dtype)

    model = Qwen2(checkpoint.decoder, weight, dtype, checkpoint.device, TEXT + STEPS)
    ids = torch.tensor(text_tokens(checkpoint.decoder, TEXT + STEPS), device=checkpoint.device)
    return model(ids, torch.arange(TEXT + STEPS, device=checkpoint.device), STEPS + 1).float().cpu()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("logits")
    parser.add_argument("out")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    checkpoint = Checkpoint(options.folder, options.device)
    with open(options.logits, "rb") as file:
        ours = torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(STEPS + 1, -1)
    if hasattr(torch, "set_float32_matmul_precision"):
        torch.set_float32_matmul_precision("highest")
    with torch.no_grad():
        expected = forward(checkpoint, torch.float32)
        pytorch = error(forward(checkpoint, torch.bfloat16), expected)
    torch.save(expected, options.out.removesuffix(".json") + ".expected")
    off = error(ours, expected)
    right = off <= FACTOR * pytorch
    with open(options.out, "w") as file:
        json.dump({"error": off if off == off else None, "pytorch_error": pytorch, "limit": FACTOR * pytorch, "right": right}, file)
    words = f"logits are {off:.2e} off float32, PyTorch's bf16 {pytorch:.2e}, limit {FACTOR * pytorch:.2e}"
    print(f"{words}\n1 passed, 0 failed" if right else f"WRONG: {words}\n0 passed, 1 failed")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
