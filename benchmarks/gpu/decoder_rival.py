"""What the decoder of a checkpoint of random_model.py takes in Hugging Face transformers: same weights, bf16, SDPA, static cache, text alone.

python3 decoder_rival.py FOLDER OUT.json [--expected FILE] [--device cpu] [--tiny] [--without-transformers]

Reads a prompt of 1024 tokens at once, then writes 64, one a step. Each step is a CUDA graph, which transformers does not make by itself: its best case.
Where the graph can't be recorded, steps are launched one by one ("decode": "eager"). Where transformers is not installed, qwen2.py stands in, and "rival" says
so. --expected: what check_logits.py kept of the text; "error" tells how far the rival's own logits are off, so that both are known to be the same model: report.py takes no
time of one that is further off than ours may be.
"""

import json
import statistics
import time

import torch
from check_logits import error, finite
from qwen2 import Qwen2
from random_weights import Checkpoint, text_tokens
from rivals import model_arguments


class Transformers:
    """step(ids, positions, outs) -> logits [outs, vocab], with a static cache."""

    def __init__(self, checkpoint, context):
        import transformers

        self.name = f"transformers {transformers.__version__}"
        config = transformers.Qwen2Config(**checkpoint.decoder)
        config._attn_implementation = "sdpa"
        # In this order the buffers of rotary positions, which are no weights, have their values, and stay float32.
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(checkpoint.device):
            self.model = transformers.Qwen2ForCausalLM(config).eval()
        torch.set_default_dtype(default)
        for name, parameter in self.model.named_parameters():  # a tied head is not among them
            parameter.data.copy_(checkpoint["language_model." + name])
        self.cache = transformers.StaticCache(config=self.model.config, max_batch_size=1, max_cache_len=context, device=checkpoint.device, dtype=torch.bfloat16)

    def step(self, ids, positions, outs):
        # Version 4 is told the place in the cache; version 5 keeps it itself, in device memory.
        out = self.model(ids[None], position_ids=positions[None], cache_position=positions, past_key_values=self.cache, use_cache=True, logits_to_keep=outs)
        return out.logits[0]

    def reset(self):
        self.cache.reset()


class StandIn:
    def __init__(self, checkpoint, context):
        self.name = "qwen2.py over SDPA (transformers is not installed)"
        weights = {name.removeprefix("language_model."): checkpoint[name] for name in checkpoint.header if name.startswith("language_model.")}
        self.step = Qwen2(checkpoint.decoder, weights.__getitem__, torch.bfloat16, checkpoint.device, context)

    def reset(self):
        pass  # positions say what counts


def synchronise(device):
    if device != "cpu":
        torch.cuda.synchronize()


def seconds_of_steps(model, token, position, steps, graphed):
    """Median seconds of a step, its token read by the host."""

    def step():
        token.copy_(model.step(token, position, 1).argmax(-1))
        position.add_(1)

    device = token.device.type
    for _ in range(3):
        step()
    run = step
    if graphed:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    times = []
    for _ in range(steps + 4):
        synchronise(device)
        start = time.perf_counter()
        run()
        token.item()
        times.append(time.perf_counter() - start)
    return statistics.median(times[4:])


def measure(checkpoint, options):
    device = options.device
    steps = 2 * options.steps + 24  # eager and graphed, with those that warm up
    kept = torch.load(options.expected) if options.expected else None
    context = max(options.text + steps, len(kept["ids"]) if kept else 0)
    if options.without_transformers:
        model = StandIn(checkpoint, context)
    else:
        try:
            model = Transformers(checkpoint, context)
        except ImportError:
            model = StandIn(checkpoint, context)
    line = {"rival": model.name, "torch": torch.__version__, "positions": options.text, "error": None}
    if kept:
        ids, outs = kept["ids"].to(device), kept["outs"].tolist()
        places = torch.arange(len(ids), device=device)
        logits = [model.step(ids[begin : end + 1], places[begin : end + 1], 1) for begin, end in zip([0] + [out + 1 for out in outs], outs)]
        line["error"] = finite(error(torch.cat(logits).float().cpu(), kept["logits"]))
    ids = torch.tensor(text_tokens(checkpoint.decoder, options.text), device=device)
    places = torch.arange(options.text, device=device)
    prefill = []
    for _ in range(4):
        model.reset()
        synchronise(device)
        start = time.perf_counter()
        logits = model.step(ids, places, 1)
        synchronise(device)
        prefill.append(time.perf_counter() - start)
    line["prefill_ms"] = statistics.median(prefill[1:]) * 1e3
    token, position = logits.argmax(-1), torch.tensor([options.text], device=device)
    line["token_ms"], line["decode"] = seconds_of_steps(model, token, position, options.steps, False) * 1e3, "eager"
    yield line
    if device != "cpu":
        line["eager_token_ms"] = line["token_ms"]
        line["token_ms"], line["decode"] = seconds_of_steps(model, token, position, options.steps, True) * 1e3, "graph"
        yield line


def main():
    parser = model_arguments("a short prompt")
    parser.add_argument("--expected")
    options = parser.parse_args()
    options.text, options.steps = (20, 2) if options.tiny else (1024, 64)
    with torch.inference_mode():
        for line in measure(Checkpoint(options.folder, options.device), options):
            print(line, flush=True)
            with open(options.out, "w") as file:  # each time: what comes next may fail
                json.dump(line, file)


if __name__ == "__main__":
    main()
