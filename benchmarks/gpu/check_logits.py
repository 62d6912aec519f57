"""Are the logits of model_times --logits those of the same weights in PyTorch? python3 check_logits.py FOLDER LOGITS OUT.json [--device cpu]

LOGITS is the folder that model_times wrote: of each case NAME ("text", "image") its ids, pixels and logits, read in pieces and single steps through bf16.
Expected: the model in float32 (nvlm.py) from the same random weights, over all ids at once. How far bf16 leads away is measured, not guessed: the
same definition runs in bf16 too, and logits may be off by twice as much (their errors are as many roundings of as many values in another order; root
mean squares over a vocabulary repeat within some 20 %). Errors are root mean square, as a share of the expected logits', of the worst position. Exit
code 1: they are further off, or not finite. OUT without .json, and with .expected, keeps what was expected of the text.
"""

import argparse
import json
import os
import sys

import torch
from nvlm import Nvlm
from random_weights import Checkpoint

FACTOR = 2


def error(got, expected):
    relative = ((got - expected).square().mean(-1) / expected.square().mean(-1)).sqrt()
    return float("nan") if not torch.isfinite(relative).all() else relative.max().item()


def finite(value):
    """For a JSON file, which has no word for a NaN."""
    return value if value == value else None


def array(path, dtype):
    with open(path, "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=dtype)


class Case:
    def __init__(self, folder, name, device):
        path = os.path.join(folder, name)
        with open(path + ".json") as file:
            case = json.load(file)
        self.ids, self.outs = (torch.tensor(case[key], device=device) for key in ("ids", "outs"))
        self.logits = array(path + ".logits", torch.float32).reshape(len(self.outs), -1)
        self.pixels = array(path + ".pixels", torch.uint8).reshape(case["pixels"]).to(device) if case["pixels"][0] else None

    def expected(self, checkpoint, dtype):
        model = Nvlm(checkpoint.config, lambda name: checkpoint[name].to(dtype), dtype, self.ids, self.pixels)
        states = model.states(self.ids, torch.arange(len(self.ids), device=self.ids.device))
        return model.logits(states[self.outs]).float().cpu()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("logits")
    parser.add_argument("out")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    checkpoint = Checkpoint(options.folder, options.device)
    if hasattr(torch, "set_float32_matmul_precision"):
        torch.set_float32_matmul_precision("highest")
    result = {}
    for name in ("text", "image"):
        case = Case(options.logits, name, options.device)
        with torch.no_grad():
            expected = case.expected(checkpoint, torch.float32)
            pytorch = error(case.expected(checkpoint, torch.bfloat16), expected)
        if name == "text":
            torch.save({"ids": case.ids.cpu(), "outs": case.outs.cpu(), "logits": expected}, options.out.removesuffix(".json") + ".expected")
        off, limit = error(case.logits, expected), FACTOR * pytorch
        result[name] = {"error": finite(off), "pytorch_error": pytorch, "limit": limit, "right": off <= limit}
        words = f"logits of {name} are {off:.2e} off float32, PyTorch's bf16 {pytorch:.2e}, limit {limit:.2e}"
        print(words if off <= limit else f"WRONG: {words}", flush=True)
    wrong = sum(not case["right"] for case in result.values())
    result["right"] = wrong == 0
    with open(options.out, "w") as file:
        json.dump(result, file)
    print(f"{len(result) - 1 - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
