"""The table and the JSON file of a scripts/gpu-check.sh run. python3 report.py FOLDER GPU CAPABILITY DRIVER

Reads stages.tsv, times.json (op_times), rivals.json (rivals.py), models.json (model_times) and hf-*.json (transformers_times.py) of the folder; writes <date>-gpu-<GPU>.json there. Exit code 1 when op_times
found a wrong value.
"""

import datetime
import json
import os
import re
import sys

# What the project aims at, by op_times's names: (value of a line, what it is, least)
TARGETS = [
    (r"^gemm (4096|8192)$", "rival", 0.50),
    (r"^gemv 72B", "copy", 0.85),
    (r"^attention tiles", "tflops", 250),
]


def read(folder, name):
    path = os.path.join(folder, name)
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def judged(line):
    """The target of a line and whether it is met; None: it has none, or the value was not measured."""
    for pattern, what, least in TARGETS:
        if re.search(pattern, line["name"]) and line.get(what) is not None:
            return {"what": what, "least": least, "met": line[what] >= least}
    return None


def lines_of(times, rivals):
    us = (rivals or {}).get("us", {})
    lines = []
    for op in times["ops"]:
        line = dict(op, copy=op["gbytes"] / times["copy_gbytes"])
        if op["name"] in us:
            line["rival_us"] = us[op["name"]]
            line["rival"] = us[op["name"]] / op["us"]
        line["target"] = judged(line)
        lines.append(line)
    return lines


def table(lines):
    rows = [f"{'op':48} {'us':>9} {'TFLOP/s':>8} {'GB/s':>6} {'of copy':>8} {'PyTorch us':>11} {'x PyTorch':>9}  target"]
    for line in lines:
        flops = f"{line['tflops']:8.1f}" if line["tflops"] > 0 else f"{'':8}"
        rival = f"{line['rival_us']:11.1f} {line['rival']:9.2f}" if "rival" in line else f"{'':21}"
        target = line["target"]
        words = f"{'met' if target['met'] else 'MISSED'}: {target['what']} >= {target['least']:g}" if target else ""
        rows.append(f"{line['name']:48} {line['us']:9.1f} {flops} {line['gbytes']:6.0f} {100 * line['copy']:6.0f} % {rival}  {words}".rstrip())
    return rows


def models_of(folder):
    try:
        with open(os.path.join(folder, "models.json")) as file:
            models = [json.loads(line) for line in file if line.strip()]
    except OSError:
        return []
    for model in models:
        family, decoder = model["name"].split(", ")[:2]
        rival = read(folder, f"hf-{decoder}.json") if family == "D" else None
        if rival:
            model["transformers"] = rival
    return models


def model_table(models):
    rows = [f"{'model':28} {'encode ms':>10} {'prompt ms':>10} {'tokens/s':>9} {'ms a token':>11} {'GB/s':>6}"]
    prefill = {model["name"]: model["text"] / (model["prefill_ms"] + model["encode_ms"]) for model in models}
    for model in models:
        gbytes = model["weight_bytes"] / model["token_ms"] / 1e6
        words = ""
        whole = prefill.get("D" + model["name"][1:])
        if whole and model["name"][0] != "D":
            words = f"  prompt and image {prefill[model['name']] / whole:.2f} x D's"
        if "transformers" in model:
            rival = model["transformers"]
            words += f"  transformers: {rival['token_ms']:.3f} ms a token, prompt of {rival['positions']} {rival['prefill_ms']:.1f} ms, text alone"
        rate = 1e3 * model["positions"] / model["prefill_ms"]
        rows.append(f"{model['name']:28} {model['encode_ms']:10.2f} {model['prefill_ms']:10.2f} {rate:9.0f} {model['token_ms']:11.3f} {gbytes:6.0f}{words}")
    return rows


def main():
    folder, gpu, capability, driver = sys.argv[1:5]
    with open(os.path.join(folder, "stages.tsv")) as file:
        header, *rows = [row.rstrip("\n").split("\t") for row in file]
    stages = [dict(zip(header, row)) for row in rows]
    times, rivals = read(folder, "times.json"), read(folder, "rivals.json")
    lines = lines_of(times, rivals) if times else []
    models = models_of(folder)
    now = datetime.datetime.now(datetime.timezone.utc)
    emulated = gpu == "emulated"
    result = {
        "date": now.isoformat(timespec="seconds"),
        "gpu": gpu,
        "capability": capability,
        "driver": driver,
        "emulated": emulated,
        "torch": rivals and {key: rivals[key] for key in ("torch", "cuda", "failed")},
        "copy_gbytes": times and times["copy_gbytes"],
        "stages": stages,
        "ops": lines,
        "models": models,
        "wrong": times["wrong"] if times else [],
    }
    name = f"{now.date()}-gpu-{re.sub(r'[^a-z0-9]+', '-', gpu.lower()).strip('-')}.json"
    with open(os.path.join(folder, name), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    if emulated:
        print(f"{len(lines)} ops and {len(models)} models ran over the emulator; times mean nothing there")
    else:
        print("\n".join((table(lines) if lines else []) + (model_table(models) if models else [])))
    for words in result["wrong"]:
        print(f"WRONG: {words}")
    print(f"written: {os.path.join(folder, name)}")
    return 1 if result["wrong"] else 0


sys.exit(main())
