"""What PyTorch (cuBLAS, scaled_dot_product_attention) takes for the shapes of op_times.cc, by the same names.

python3 rivals.py OUT.json [--device cpu --tiny]     in brackets: a try of this script without a GPU, whose times mean nothing

All launches of a measurement are one CUDA graph, and buffers take turns beyond three times the second-level cache, as in op_times.cc. Products are the
matrix product alone: what ours does beside it (GELU, SwiGLU) comes on top for PyTorch.
"""

import argparse
import json
import statistics
import time

import torch

# name: (rows, weight rows, depth)
PRODUCTS = {
    "gemm 4096": (4096, 4096, 4096),
    "gemm 8192": (8192, 8192, 8192),
    "encoder 6B up + gelu": (7 * 1025, 12800, 3200),
    "prefill 7B gate/up + swiglu": (2048, 2 * 18944, 3584),
    "skinny 16 72B o": (16, 8192, 8192),
    "gemv 72B qkv": (1, 10240, 8192),
    "gemv 72B o": (1, 8192, 8192),
    "gemv 72B gate/up + swiglu": (1, 2 * 29568, 8192),
    "gemv 72B down": (1, 8192, 29568),
    "gemv 72B logits": (1, 152064, 8192),
    "decode 72B norm + qkv + rope + write": (1, 10240, 8192),
    "decode 72B o + residual": (1, 8192, 8192),
    "decode 72B norm + gate/up + swiglu": (1, 2 * 29568, 8192),
    "decode 72B down + residual": (1, 8192, 29568),
    "decode 7B norm + qkv + rope + write": (1, 4608, 3584),
    "decode 7B o + residual": (1, 3584, 3584),
    "decode 7B norm + gate/up + swiglu": (1, 2 * 18944, 3584),
    "decode 7B down + residual": (1, 3584, 18944),
    "gemv of 4 rows, 72B o": (4, 8192, 8192),
}
# name: (batch, rows, keys, heads, kv heads, head size, causal)
ATTENTION = {
    "attention tiles 7x1025, 16 heads of 64": (7, 1025, 1025, 16, 16, 64, False),
    "attention tiles 7x1025, 25 heads of 128": (7, 1025, 1025, 25, 25, 128, False),
    "attention prefill 2048, 64/8 heads of 128": (1, 2048, 2048, 64, 8, 128, True),
    "attention decode 4096, 64/8 heads of 128": (1, 1, 4096, 64, 8, 128, False),
    "attention decode 4096, 28/4 heads of 128": (1, 1, 4096, 28, 4, 128, False),
    "attention decode 16 x 4096, 64/8 heads of 128": (16, 1, 4096, 64, 8, 128, False),
    "cross attention decode 1792, 64/8 heads of 128": (1, 1, 1792, 64, 8, 128, False),
    "cross attention decode 1792, 28/4 heads of 128": (1, 1, 1792, 28, 4, 128, False),
}


def seconds(work, buffers, device):
    """Median seconds of one `work(i)`."""
    if device == "cpu":
        start = time.perf_counter()
        work(0)
        return time.perf_counter() - start
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def seconds_of(launch):
        start.record()
        launch()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def each():
        for i in range(buffers):
            work(i)

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        each()
        turns = max(1, min(int(0.01 / seconds_of(each)), 512 // buffers + 1))
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(turns):
                each()
        times = [seconds_of(graph.replay) / (turns * buffers) for _ in range(12)]
    return statistics.median(times[2:])


def buffers_for(size, rotated):
    return min(64, 1 + rotated // size)


def random(device, *shape):
    return (torch.rand(shape, device=device) * 2 - 1).to(torch.bfloat16)


def product(shape, device, rotated):
    rows, columns, depth = shape
    count = buffers_for(2 * (rows * depth + columns * depth + rows * columns), rotated)
    a = [random(device, rows, depth) for _ in range(count)]
    w = [random(device, columns, depth) for _ in range(count)]
    out = [torch.empty(rows, columns, dtype=torch.bfloat16, device=device) for _ in range(count)]
    return seconds(lambda i: torch.mm(a[i], w[i].t(), out=out[i]), count, device)


def attention(shape, device, rotated):
    batch, rows, keys, heads, kv_heads, size, causal = shape
    count = buffers_for(4 * batch * size * (rows * heads + keys * kv_heads), rotated)
    q = [random(device, batch, heads, rows, size) for _ in range(count)]
    k = [random(device, batch, kv_heads, keys, size) for _ in range(count)]
    v = [random(device, batch, kv_heads, keys, size) for _ in range(count)]
    grouped = {"enable_gqa": True} if heads != kv_heads else {}
    return seconds(lambda i: torch.nn.functional.scaled_dot_product_attention(q[i], k[i], v[i], is_causal=causal, **grouped), count, device)


def model_arguments(tiny):
    """Of those scripts that time a whole model of random_model.py; `tiny`: what --tiny makes of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help=f"{tiny}: a try of this script")
    parser.add_argument("--without-transformers", action="store_true")
    return parser


def tiny(shape):
    return tuple(side if side is True or side is False else min(side, 64) for side in shape)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    gpu, rotated = None, 1
    if options.device != "cpu":
        properties = torch.cuda.get_device_properties(0)
        gpu, rotated = properties.name, 3 * getattr(properties, "L2_cache_size", 64 << 20)
    result = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpu": gpu, "us": {}, "failed": {}}
    with torch.inference_mode():
        for table, measure in ((PRODUCTS, product), (ATTENTION, attention)):
            for name, shape in table.items():
                try:
                    result["us"][name] = measure(tiny(shape) if options.tiny else shape, options.device, rotated) * 1e6
                    print(f"{name:48} {result['us'][name]:9.1f} us", flush=True)
                except Exception as error:  # one that this PyTorch does not have leaves the others
                    result["failed"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
                    print(f"{name:48} failed: {result['failed'][name]}", flush=True)
                if options.device != "cpu":
                    torch.cuda.empty_cache()
                with open(options.out, "w") as out:
                    json.dump(result, out, indent=1)


if __name__ == "__main__":
    main()
