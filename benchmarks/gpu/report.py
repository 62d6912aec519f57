"""The tables and the JSON file of a scripts/gpu-check.sh run. python3 report.py FOLDER GPU CAPABILITY DRIVER

Reads what there is in the folder of stages.tsv, times.json (op_times), rivals.json (rivals.py), models.json (model_times), logits-*.json (check_logits.py),
rival-*.json (decoder_rival.py) and encoder-*.json (encoder_rival.py); writes <date>-gpu-<GPU>.json there. Exit code 1 when op_times or check_logits.py found a wrong value.
"""

import datetime
import json
import os
import re
import sys


def read(folder, name):
    try:
        with open(os.path.join(folder, name)) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def models_of(folder):
    """Lines of models.json; the last one may be cut off."""
    models = []
    try:
        with open(os.path.join(folder, "models.json")) as file:
            for line in file:
                models.append(json.loads(line))
    except (OSError, ValueError):
        pass
    for model in models:
        family, decoder, vision = model["name"].split(", ")
        model["logits"] = read(folder, f"logits-{family}-{decoder}.json")
        if family == "D":
            model["rival"] = read(folder, f"rival-{decoder}.json")
            model["encoder_rival"] = read(folder, f"encoder-{vision}.json")
    return models


# ---- Ops ----


def ops_of(times, rivals):
    us = (rivals or {}).get("us", {})
    ops = []
    for op in (times or {}).get("ops", []):
        line = dict(op, copy=op["gbytes"] / times["copy_gbytes"])
        if op["name"] in us:
            line["rival_us"] = us[op["name"]]
            line["rival"] = us[op["name"]] / op["us"]
        ops.append(line)
    return ops


def op_table(ops):
    rows = [f"{'op':48} {'us':>9} {'TFLOP/s':>8} {'GB/s':>6} {'of copy':>8} {'PyTorch us':>11} {'x PyTorch':>9}"]
    for op in ops:
        flops = f"{op['tflops']:8.1f}" if op["tflops"] > 0 else f"{'':8}"
        rival = f"{op['rival_us']:11.1f} {op['rival']:9.2f}" if "rival" in op else ""
        rows.append(f"{op['name']:48} {op['us']:9.1f} {flops} {op['gbytes']:6.0f} {100 * op['copy']:6.0f} % {rival}".rstrip())
    return rows


# ---- Models ----


def model_table(models):
    rows = [f"{'model':24} {'encode ms':>10} {'prompt ms':>10} {'tokens/s':>9} {'ms a token':>11} {'GB/s':>6} {'off CPU':>8} {'off float32: text, image':>24}  decoder in PyTorch: prompt, token (ms)"]
    for model in models:
        rate, gbytes = 1e3 * model["positions"] / model["prefill_ms"], model["token_bytes"] / model["token_ms"] / 1e6
        cpu = f"{model['cpu_error']:8.1e}" if model["cpu_error"] is not None else f"{'':8}"
        logits, rival = model.get("logits"), model.get("rival")
        errors = [logits and logits[case]["error"] for case in ("text", "image")]
        off = "".join(f"{'':12}" if error is None else f"{error:12.1e}" for error in errors)
        words = f"{rival['rival']}: {rival['prefill_ms']:.1f} ({rival['positions']} positions), {rival['token_ms']:.3f} ({rival['decode']})" if rival else ""
        if rival and rival["error"] is not None:
            words += f", its logits {rival['error']:.1e} off"
        rows.append(f"{model['name']:24} {model['encode_ms']:10.2f} {model['prefill_ms']:10.2f} {rate:9.0f} {model['token_ms']:11.3f} {gbytes:6.0f} {cpu} {off}  {words}".rstrip())
    return rows


# ---- Targets ----


def doubt(rival, limit):
    """Why a rival's time says nothing: it may have computed something else. `limit`: how far its results may be off."""
    if rival is None:
        return None
    error = rival.get("error")
    if error is None or limit is None:
        return "the rival's results were not compared"
    return None if error <= limit else f"the rival's results are {error:.1e} off, limit {limit:.1e}"


def target(name, unit, value, ceiling, least, why=None):
    """`value` over `ceiling`, both measured in this run, is to be at least `least` (None: only reported); None: not measured. `why` not, though both are there."""
    if why:
        ceiling = None
    ratio = value / ceiling if value is not None and ceiling else None
    return {"name": name, "unit": unit, "value": value, "ceiling": ceiling, "ratio": ratio, "least": least, "met": None if ratio is None or least is None else ratio >= least, "why": why}


def targets_of(times, ops, models):
    copy = times and times["copy_gbytes"]
    op = {line["name"]: line for line in ops}
    model = {line["name"]: line for line in models}

    def of(lines, name, key):
        return lines[name].get(key) if name in lines else None

    def rival_tflops(name):
        line = op.get(name, {})
        return line["tflops"] / line["rival"] if "rival" in line else None

    targets = [target(f"{name}: of cuBLAS", "TFLOP/s", of(op, name, "tflops"), rival_tflops(name), 0.50) for name in ("gemm 4096", "gemm 8192")]
    vectors = [name for name in op if re.match(r"gemv 72B|decode 72B", name)] or ["gemv 72B"]
    targets += [target(f"{name}: of copy", "GB/s", of(op, name, "gbytes"), copy, 0.85) for name in vectors]
    tiles = [name for name in op if name.startswith("attention tiles")] or ["attention tiles"]
    targets += [target(f"{name}", "TFLOP/s", of(op, name, "tflops"), 250 if name in op else None, 1) for name in tiles]
    targets += [target(f"{name}: of PyTorch's", "TFLOP/s", of(op, name, "tflops"), rival_tflops(name), None) for name in tiles]
    for decoder, least in (("7b", 0.85), ("0.5b", None)):
        line = model.get(f"D, {decoder}, 300m")
        gbytes = line and line["token_bytes"] / line["token_ms"] / 1e6
        targets.append(target(f"decode step of D, {decoder}: of copy", "GB/s", gbytes, copy, least))
    for decoder, vision, least in (("7b", "300m", 2), ("0.5b", "300m", 2), ("72b-layer", "6b-layer", None)):
        line = model.get(f"D, {decoder}, {vision}")
        rival = line and line.get("rival")
        words = rival["rival"].split(" (")[0] if rival else "transformers"
        # Only transformers itself is what the target speaks of.
        least = least if rival is None or words.startswith("transformers") else None
        # Its logits are held against the same float32, so it may be off as far as ours (check_logits.py).
        checked = line and line.get("logits")
        why = doubt(rival, checked and checked["text"]["limit"])
        targets.append(target(f"tokens/s of D, {decoder}: x {words}", "tokens/s", line and 1e3 / line["token_ms"], rival and 1e3 / rival["token_ms"], least, why))
    for decoder, vision in (("7b", "300m"), ("72b-layer", "6b-layer")):
        line = model.get(f"D, {decoder}, {vision}")
        rival = line and line.get("encoder_rival")
        words = rival["rival"].split(" (")[0] if rival else "transformers"
        rates = [line and 1e3 * line["tiles"] / line["encode_ms"], rival and 1e3 * rival["tiles"] / rival["encode_ms"]]
        targets.append(target(f"encoder of {vision}, 7 tiles: x {words}", "tiles/s", *rates, None, doubt(rival, rival and rival.get("limit"))))
    whole = model.get("D, 7b, 300m")
    for family, least in (("X", 1.76), ("H", 1.26)):
        line = model.get(f"{family}, 7b, 300m")
        for words, key, limit in (("", ("prefill_ms",), least), (", encoder included", ("prefill_ms", "encode_ms"), None)):
            rates = [one and 1e3 / sum(one[k] for k in key) for one in (line, whole)]
            targets.append(target(f"prefill of {family}, 7b{words}: x D's", "prompts/s", *rates, limit))
    return targets


def target_table(targets):
    rows = [f"{'target':62} {'value':>9} {'ceiling':>9} {'unit':10} {'ratio':>6} {'least':>6}"]
    for t in targets:
        value, ceiling = (f"{t[key]:9.1f}" if t[key] is not None else f"{'-':>9}" for key in ("value", "ceiling"))
        ratio = f"{t['ratio']:6.2f}" if t["ratio"] is not None else f"{'-':>6}"
        least = f"{t['least']:6.2f}" if t["least"] is not None else f"{'':6}"
        words = "not measured" + (f": {t['why']}" if t["why"] else "") if t["ratio"] is None else "" if t["least"] is None else "met" if t["met"] else "MISSED"
        rows.append(f"{t['name']:62} {value} {ceiling} {t['unit']:10} {ratio} {least}  {words}".rstrip())
    return rows


def main():
    folder, gpu, capability, driver = sys.argv[1:5]
    with open(os.path.join(folder, "stages.tsv")) as file:
        header, *rows = [row.rstrip("\n").split("\t") for row in file]
    times, rivals = read(folder, "times.json"), read(folder, "rivals.json")
    ops, models = ops_of(times, rivals), models_of(folder)
    targets = targets_of(times, ops, models)
    wrong = list(times["wrong"]) if times else []
    wrong += [f"logits of {model['name']}: {model['logits']}" for model in models if model.get("logits") and not model["logits"]["right"]]
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
        "stages": [dict(zip(header, row)) for row in rows],
        "targets": targets,
        "ops": ops,
        "models": models,
        "wrong": wrong,
    }
    name = f"{now.date()}-gpu-{re.sub(r'[^a-z0-9]+', '-', gpu.lower()).strip('-')}.json"
    with open(os.path.join(folder, name), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    if emulated:
        print(f"{len(ops)} ops and {len(models)} models ran over the emulator; times mean nothing there")
    for table in (op_table(ops) if ops else [], model_table(models) if models else [], target_table(targets)):
        print("\n".join(table) + "\n")
    for words in wrong:
        print(f"WRONG: {words}")
    print(f"written: {os.path.join(folder, name)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
