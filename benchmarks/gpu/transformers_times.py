"""What Hugging Face transformers takes for the decoder of a checkpoint of random_model.py: bf16, SDPA, static cache, text alone.

python3 transformers_times.py FOLDER OUT.json

Reads the prompt of 1024 tokens at once, then writes 64, one a step, each step a CUDA graph (which transformers itself does not make by default: its best
case). Never run yet by those who wrote it: no machine with a GPU was at hand.
"""

import json
import mmap
import statistics
import struct
import sys
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, StaticCache
from transformers import __version__ as transformers_version

TEXT, STEPS, CONTEXT = 1024, 64, 4096


def tensors(path):
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (length,) = struct.unpack("<Q", memory[:8])
    for name, entry in json.loads(memory[8 : 8 + length]).items():
        first, last = entry["data_offsets"]
        values = torch.frombuffer(memory, dtype=torch.bfloat16, count=(last - first) // 2, offset=8 + length + first)
        yield name, values.reshape(entry["shape"])


def load(folder):
    with open(f"{folder}/config.json") as file:
        config = Qwen2Config(**json.load(file)["llm_config"])
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config)
    own = dict(model.named_parameters())
    for name, values in tensors(f"{folder}/model.safetensors"):
        if name.startswith("language_model."):
            own[name.removeprefix("language_model.")].data.copy_(values)
    return model.eval()


def main():
    folder, out = sys.argv[1:3]
    model = load(folder)
    vocab = model.config.vocab_size
    ids = torch.tensor([[400 + i * 7919 % (vocab - 400) for i in range(TEXT)]], device="cuda")
    cache = StaticCache(config=model.config, max_batch_size=1, max_cache_len=CONTEXT, device="cuda", dtype=torch.bfloat16)

    def step(tokens, position):
        return model(tokens, past_key_values=cache, cache_position=position, use_cache=True, logits_to_keep=1).logits

    with torch.inference_mode():
        prefill = []
        for _ in range(4):
            cache.reset()
            torch.cuda.synchronize()
            start = time.perf_counter()
            logits = step(ids, torch.arange(TEXT, device="cuda"))
            torch.cuda.synchronize()
            prefill.append(time.perf_counter() - start)
        token, position = logits[:, -1].argmax(-1, keepdim=True), torch.tensor([TEXT], device="cuda")
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step(token, position)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = step(token, position)
        times = []
        for _ in range(STEPS + 4):
            start = time.perf_counter()
            graph.replay()
            token.copy_(result[:, -1].argmax(-1, keepdim=True))
            token.item()
            times.append(time.perf_counter() - start)
            position += 1
    line = {
        "transformers": transformers_version,
        "torch": torch.__version__,
        "positions": TEXT,
        "prefill_ms": statistics.median(prefill[1:]) * 1e3,
        "token_ms": statistics.median(times[4:]) * 1e3,
    }
    print(line)
    with open(out, "w") as file:
        json.dump(line, file)


main()
