#!/usr/bin/env python3
"""PyTorch's training step as a program with the protocol of bench_step.

Prints `ready ...` after the warm-up; then, for each line with a number N on stdin, runs N training steps and prints
one line with N times in milliseconds. End of input ends it.

A step: zero_grad(set_to_none=True), forward, mean cross-entropy, backward, the gradient codec, torch.optim.SGD in its
fastest form (foreach). Images and labels are ready in memory, in the layout and type the network wants.
Precision bf16 holds the whole model in bfloat16; bf16-autocast keeps float32 weights; tf32 (GPU) rounds the factors of
products. Needs PyTorch, on the CPU Debian's python3-torch.

With --device cuda everything lies on the GPU, SGD is the fused one where this PyTorch has it, and the N times of a line
are their mean, with one synchronisation at the end. --graph captures the whole step, codec and update included, once
and launches it as one CUDA graph. --compile gives network and codec to torch.compile (PyTorch 2, and what it compiles
with).
"""

import argparse
import pathlib
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"))
from models import make_model  # noqa: E402

WARM_UP = 3


def quantize_standard(flat, levels=16, bucket=512):
    """min + u * floor((x - min) / u + U), u = (max - min) / (levels - 1), per bucket; all buckets at once."""
    whole = flat.numel() // bucket * bucket
    parts = [flat[:whole].view(-1, bucket)] if whole else []
    if whole < flat.numel():
        parts.append(flat[whole:].view(1, -1))
    done = []
    for part in parts:
        low, high = torch.aminmax(part, dim=1, keepdim=True)
        unit = (high - low) / (levels - 1)
        scaled = (part - low).div_(unit.clamp_min(torch.finfo(torch.float32).tiny))
        done.append(scaled.add_(torch.rand_like(part)).floor_().mul_(unit).add_(low).view(-1))
    return torch.cat(done)


class Step:
    def __init__(self, arguments):
        torch.manual_seed(1)
        self.device = arguments.device
        layout = torch.channels_last if arguments.memory_format == "channels_last" else torch.contiguous_format
        dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
        self.autocast = arguments.precision == "bf16-autocast"
        self.quantized = arguments.quant == "standard"
        self.model = make_model(arguments.model, dropout=0.5).to(self.device, dtype).to(memory_format=layout).train()
        self.quantize_flat = quantize_standard
        if arguments.compile:
            self.model, self.quantize_flat = torch.compile(self.model), torch.compile(quantize_standard)
        self.parameters = list(self.model.parameters())
        self.images = torch.randn(arguments.batch_size, 3, 32, 32).to(self.device, dtype).to(memory_format=layout)
        self.labels = torch.randint(0, 10, (arguments.batch_size,)).to(self.device)
        self.optimizer = self.make_optimizer()

    def make_optimizer(self):
        settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
        if self.device == "cuda":
            try:
                return torch.optim.SGD(self.parameters, fused=True, **settings)
            except (TypeError, RuntimeError):
                pass  # an older PyTorch
        return torch.optim.SGD(self.parameters, foreach=True, **settings)

    def capture(self):
        """The step as one graph; its warm-up belongs on a stream of its own."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.run()
            self.optimizer.zero_grad(set_to_none=True)  # the graph allocates gradients of its own
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.run()
        return graph.replay

    def run(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.model(self.images)
        torch.nn.functional.cross_entropy(logits.float(), self.labels).backward()
        if self.quantized:
            self.quantize()
        self.optimizer.step()

    def quantize(self):
        flat = torch.cat([p.grad.reshape(-1) for p in self.parameters]).float()
        pieces = self.quantize_flat(flat).split([p.numel() for p in self.parameters])
        for p, piece in zip(self.parameters, pieces):
            p.grad.copy_(piece.view_as(p))


def times_of(run, steps, device):
    """Milliseconds of each step."""
    if device == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            run()
        torch.cuda.synchronize()
        return [(time.perf_counter() - start) * 1e3 / steps] * steps
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="resnet_20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16", "bf16-autocast"], default="fp32")
    parser.add_argument("--quant", choices=["standard", "none"], default="standard")
    parser.add_argument("--memory-format", choices=["channels_last", "contiguous"], default="channels_last")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    step = Step(arguments)
    run = step.capture() if arguments.graph else step.run
    for _ in range(WARM_UP):
        run()
    capability = [line for line in torch.__config__.show().splitlines() if "CPU capability" in line]
    if arguments.device == "cuda":
        capability = [torch.cuda.get_device_name()]
    print("ready", torch.__version__, *(line.strip(" -") for line in capability), flush=True)
    for line in sys.stdin:
        print(*(f"{t:.4f}" for t in times_of(run, int(line), arguments.device)), flush=True)


if __name__ == "__main__":
    main()
