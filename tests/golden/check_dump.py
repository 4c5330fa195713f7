#!/usr/bin/env python3
"""Redoes in PyTorch the training step that `cifar_train --dump-step FILE` wrote, and compares.

    check_dump.py FILE [--model NAME] [--tolerance-profile fp32|bf16] [--flips N]

The reference is float64: parameters, running statistics, images and labels of the file go through the PyTorch
module of the same structure in training mode; logits, loss, every gradient and the running statistics after the
step are compared norm-wise, ||x - reference|| / ||reference||. The update is then redone in float64 from
quantized_grad, param_before and momentum_before, as torch.optim.SGD does it. The errors of PyTorch's own step in
float32 (bf16: under autocast) stand beside ours. Exit status: 0 all within tolerance, 1 not, 2 unusable file or arguments.

ReLU is not smooth. Where its input lies within float32 rounding of zero, either decision is right, and the other
one changes gradients by up to a few percent, far above rounding. So when a gradient is out of tolerance, the
nearest such inputs (at most --flips, and only closer to zero than AMBIGUOUS spreads of their tensor) are decided
the other way, one after the other; a decision is kept if it brings the reference nearer. How many were needed is
printed. The tolerances themselves do not move.

Needs Debian's python3-torch and python3-numpy.
"""

import argparse
import sys

import numpy as np
import torch

import safetensors_io
from models import make_model

# fp32: the project's own targets. update: three roundings of an addition or product, 6e-8 each.
# bf16: the unit roundoff is 2^-9 = 0.002. ResNet-20 rounds about 40 activations in a row: sqrt(40) * 0.002 = 0.012
# in the logits. A fraction of ReLU inputs of the size of that error, about 0.005, lands on the other side of zero in
# each of 19 layers, and a gradient feels its square root: sqrt(19 * 0.005) = 0.3. Twice these; the loss averages.
# So wide a bound says little about one gradient; over all of them, two sound ways to round err by much the same.
PROFILES = {
    "fp32": {"logits": 1e-5, "loss": 1e-5, "grad": 1e-4, "buffer": 1e-5, "update": 1e-6, "codec": 1.0},
    "bf16": {"logits": 3e-2, "loss": 2e-2, "grad": 6e-1, "buffer": 2e-2, "update": 1e-6,
             "grad_over_peer": 1.5, "codec": 1.0},
}
AMBIGUOUS = 1e-5  # float32 rounding moves most ReLU inputs of these networks by some 1e-6 of their spread


class Unusable(Exception):
    pass


class Relu(torch.autograd.Function):
    """max(x, 0), except that the flat positions in `flips` are decided the other way."""

    @staticmethod
    def forward(ctx, x, flips):
        mask = x > 0
        for position in flips:
            mask.view(-1)[position] ^= True
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


class Reference:
    """The step of the dump in one precision, with chosen ReLU decisions turned round."""

    def __init__(self, model_name, dump, dtype, autocast=False):
        self.model = make_model(model_name, dropout=0.0).to(dtype).train()
        self.dump, self.dtype, self.autocast, self.inputs = dump, dtype, autocast, []

    def _fill(self, destination, key):
        if key not in self.dump:
            raise Unusable(f"the file has no '{key}'; is it a dump of this model?")
        if tuple(self.dump[key].shape) != tuple(destination.shape):
            raise Unusable(f"'{key}' is {self.dump[key].shape}, the model has {tuple(destination.shape)}")
        destination.copy_(torch.from_numpy(self.dump[key].copy()))

    def run(self, flips=(), keep_inputs=False):
        """name -> float64 array. flips: pairs (number of the ReLU call, flat position)."""
        with torch.no_grad():
            for key, p in self.model.named_parameters():
                self._fill(p, f"param_before.{key}")
            for key, b in buffers_of(self.model):
                self._fill(b, f"buffer_before.{key}")
        self.inputs, calls = [], [0]

        def relu(x):
            x = x.contiguous()
            if keep_inputs:
                self.inputs.append(x.detach())
            calls[0] += 1
            return Relu.apply(x, [position for call, position in flips if call == calls[0] - 1])

        plain = torch.relu
        torch.relu = relu
        for module in self.model.modules():
            if isinstance(module, torch.nn.ReLU):
                module.forward = relu
        try:
            self.model.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                logits = self.model(torch.from_numpy(self.dump["input"].copy()).to(self.dtype))
            logits = logits.to(self.dtype)
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(self.dump["labels"].copy()))
            loss.backward()
        finally:
            torch.relu = plain
        found = {"logits": logits, "loss": loss}
        found.update({f"grad.{key}": p.grad for key, p in self.model.named_parameters()})
        found.update({f"buffer_after.{key}": b for key, b in buffers_of(self.model)})
        return {key: value.detach().double().numpy().copy() for key, value in found.items()}


def buffers_of(model):
    return [(key, b) for key, b in model.named_buffers() if not key.endswith("num_batches_tracked")]


def relative_error(x, reference):
    x, reference = x.reshape(-1).astype(np.float64), reference.reshape(-1)
    norm = np.linalg.norm(reference)
    difference = np.linalg.norm(x - reference)
    return difference / norm if norm > 0 else (0.0 if difference == 0 else np.inf)


def gradient_distance(found, reference):
    """Mean square of the relative errors of all gradients that are not zero."""
    errors = [relative_error(found[k], v) for k, v in reference.items() if k.startswith("grad.") and v.any()]
    return float(np.mean(np.square(errors)))


def settle_ambiguous(reference, expected, dump, most):
    """Turns near-zero ReLU decisions round where the dump took them the other way."""
    expected = reference.run(keep_inputs=True)
    near = []
    for call, x in enumerate(reference.inputs):
        distance = x.abs().reshape(-1) / x.std()
        near += [(float(distance[i]), call, int(i)) for i in torch.nonzero(distance < AMBIGUOUS).reshape(-1)]
    near.sort()
    flips, best = [], gradient_distance(dump, expected)
    for _, call, position in near[:most]:
        tried = reference.run(flips + [(call, position)])
        distance = gradient_distance(dump, tried)
        if distance < best:
            flips, best, expected = flips + [(call, position)], distance, tried
    print(f"{len(near)} ReLU inputs lie within {AMBIGUOUS:g} spreads of zero; the nearest {min(most, len(near))} were "
          f"tried, {len(flips)} taken the other way")  # fmt: skip
    return expected


def flag(metadata, key):
    return metadata.get(key, "0").lower() in ("1", "true", "yes", "on")


def number(metadata, key):
    try:
        return float(metadata[key])
    except (KeyError, ValueError):
        raise Unusable(f"the file's metadata has no number '{key}'") from None


def redo_update(dump, metadata, key):
    """(param_after, momentum_after) in float64."""
    lr, momentum, decay = (number(metadata, k) for k in ("lr", "momentum", "weight_decay"))
    p, m, g = (dump[f"{kind}.{key}"].astype(np.float64) for kind in ("param_before", "momentum_before", "quantized_grad"))
    d = g + decay * p
    m = momentum * m + d
    return p - lr * (d + momentum * m if flag(metadata, "nesterov") else m), m


class Table:
    """Prints one line a tensor and remembers the worst."""

    def __init__(self, tolerances):
        self.tolerances, self.failed, self.worst = tolerances, 0, {}
        print(f"{'tensor':45} {'ours':>9} {'PyTorch':>9} {'allowed':>9}")

    def add(self, group, name, error, peer=None):
        good = error <= self.tolerances[group]
        self.failed += not good
        self.worst[group] = max(self.worst.get(group, 0.0), error)
        beside = f"{peer:9.1e}" if peer is not None else " " * 9
        print(f"{name:45} {error:9.1e} {beside} {self.tolerances[group]:9.1e}{'' if good else '  TOO LARGE'}")

    def finish(self):
        print("worst: " + ", ".join(f"{group} {error:.1e}" for group, error in self.worst.items()))
        print("all within tolerance" if not self.failed else f"{self.failed} tensors are out of tolerance")
        return 1 if self.failed else 0


def check_gradients(table, model_name, dump, arguments):
    reference = Reference(model_name, dump, torch.float64)
    expected = reference.run()
    tolerance = arguments.profile["grad"]
    gradients = [k for k in expected if k.startswith("grad.")]
    if arguments.flips and any(relative_error(dump[k], expected[k]) > tolerance for k in gradients):
        expected = settle_ambiguous(reference, expected, dump, arguments.flips)
    peer = Reference(model_name, dump, torch.float32, autocast=arguments.profile is PROFILES["bf16"]).run()
    for key, value in expected.items():
        group = {"grad": "grad", "buffer_after": "buffer"}.get(key.partition(".")[0], key)
        table.add(group, key, relative_error(dump[key], value), relative_error(peer[key], value))
    if "grad_over_peer" in arguments.profile:
        ours, theirs = gradient_distance(dump, expected) ** 0.5, gradient_distance(peer, expected) ** 0.5
        table.add("grad_over_peer", "all gradients, ours over PyTorch's", ours / theirs)


def check_update(table, model_name, dump, metadata):
    for key, _ in make_model(model_name).named_parameters():
        parameter, momentum = redo_update(dump, metadata, key)
        table.add("update", f"param_after.{key}", relative_error(dump[f"param_after.{key}"], parameter))
        table.add("update", f"momentum_after.{key}", relative_error(dump[f"momentum_after.{key}"], momentum))


def check_codec(table, model_name, dump, metadata):
    """What any draw must satisfy: the codec itself is not redone. Error feedback is."""
    names = [key for key, _ in make_model(model_name).named_parameters()]

    def flat(kind):
        return np.concatenate([dump[f"{kind}.{key}"].reshape(-1) for key in names]).astype(np.float64)

    gradient, quantized = flat("grad"), flat("quantized_grad")
    if flag(metadata, "error_feedback"):
        residual = flat("residual_before")
        after = number(metadata, "ef_beta") * residual + (gradient - quantized)
        table.add("update", "residual_after", relative_error(flat("residual_after"), after))
        # The codec was given the float32 sum: its range is exact.
        joined = np.float32(number(metadata, "ef_alpha")) * residual.astype(np.float32)
        gradient = (gradient.astype(np.float32) + joined).astype(np.float64)
    codec, levels, size = metadata.get("quant", "none"), int(metadata.get("levels", 0)), int(metadata.get("bucket_size", 0))
    if codec == "none":
        if not np.array_equal(gradient, quantized):
            table.add("codec", "quantized_grad differs without a codec", np.inf)
        return
    levels = {"terngrad": 3, "sign": 2, "natural": 509, "fixed": 1 << 16}.get(codec, levels)
    if metadata.get("rounding") == "stochastic" and codec != "sign":
        # Unbiased: the error has no part along the gradient but by chance, here in units of 5 standard deviations.
        error = quantized - gradient
        chance = 5 * np.sqrt(((gradient * error) ** 2).sum())
        table.add("codec", "error along the gradient", abs(gradient @ error) / max(chance, 1e-300))
    size = len(gradient) if size < 0 else size
    for begin in range(0, len(gradient), size):
        x, q = gradient[begin : begin + size], quantized[begin : begin + size]
        if codec != "hadamard" and len(np.unique(q)) > levels:
            table.add("codec", f"levels of the bucket at {begin}", np.inf)
        if codec in ("standard", "smart") and (q.min() < x.min() or q.max() > x.max()):
            table.add("codec", f"range of the bucket at {begin}", np.inf)
        # A float's rounding beyond one step.
        if codec == "standard" and metadata.get("points", "even") == "even" and np.abs(q - x).max() > (x.max() - x.min()) / (levels - 1) * (1 + 1e-5):
            table.add("codec", f"steps in the bucket at {begin}", np.inf)


def main():
    parser = argparse.ArgumentParser(description="Checks a file of cifar_train --dump-step against PyTorch.")
    parser.add_argument("dump")
    parser.add_argument("--model", help="default: what the file says")
    parser.add_argument("--tolerance-profile", choices=PROFILES, help="default: the precision the file says, or fp32")
    parser.add_argument("--flips", type=int, default=24, help="ambiguous ReLU inputs to try; 0: none (default 24)")
    arguments = parser.parse_args()
    try:
        dump, metadata = safetensors_io.read(arguments.dump)
        model_name = arguments.model or metadata.get("model")
        if not model_name:
            raise Unusable("the file does not say which model it is: give --model")
        arguments.profile = PROFILES[arguments.tolerance_profile or metadata.get("precision", "fp32")]
        table = Table(arguments.profile)
        if model_name == "alexnet" and float(metadata.get("dropout", "0.5")) != 0.0:
            print("dropout was on and its masks are not in the file: logits, loss and gradients cannot be redone, only "
                  "the update is checked; write the dump with dropout 0")  # fmt: skip
        else:
            check_gradients(table, model_name, dump, arguments)
        check_update(table, model_name, dump, metadata)
        check_codec(table, model_name, dump, metadata)
    except (Unusable, OSError, ValueError, KeyError) as error:
        print(f"check_dump.py: {error}", file=sys.stderr)
        return 2
    return table.finish()


if __name__ == "__main__":
    sys.exit(main())
