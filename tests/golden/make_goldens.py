#!/usr/bin/env python3
"""Writes what two training steps of each model must give: resnet_20, alexnet, simple (.safetensors, beside this file).

Needs Debian's python3-torch and python3-numpy; the tests that read the files need neither.

The start of a run is never stored. Both sides compute it from RandomStream{seed, purpose, step} of
engine/random.h; below, u(e) is uniform(e) of the stream with Purpose::init_weights and
    seed = SEED[model] * 16 + kind,  step = number,
in float32, element e being the row-major index in PyTorch's layout (OIHW, [out,in], NCHW):

  kind  number        tensor                          value
  0     parameter     *.weight of rank 2 or 4         (2*u - 1) * (float) sqrt(3.0 / fan_in)
                      weight of a batch norm          0.5 + u
                      every bias                      (2*u - 1) * 0.125
  1     parameter     momentum                        (2*u - 1) * 0.0078125
  2     buffer        running_mean                    (2*u - 1) * 0.125
                      running_var                     0.5 + u
  3     step          images [N,3,32,32]              4*u - 2
  -     -             labels [N]                      (7*e + step) mod 10

Parameters are numbered from 0 in PyTorch's order; buffers likewise (running_mean and running_var of the first
batch norm are 0 and 1; num_batches_tracked does not count). fan_in is the product of all extents but the first;
the square root is taken in double and rounded to float once. 2*u - 1, 4*u - 2 and the products with powers of
two are exact; the product with sqrt(3.0 / fan_in) and the sum 0.5 + u are one float32 rounding each.
Steps are 0 and 1. Dropout is off (p = 0): its masks are no business of this test.

A step: forward in training mode, mean cross-entropy, backward, torch.optim.SGD (lr of the metadata, momentum 0.9,
weight decay 1e-4, no Nesterov). The second step starts from the result of the first. Everything stored is float64
and was computed in float64:

  stepS.logits [N,10], stepS.loss [1], stepS.KIND.NAME with KIND grad, param_after, momentum_after, buffer_after
  in full where the tensor has at most 1024 elements, else stepS.KIND_summary.NAME [81]:
    [0]      the L2 norm
    [1+j]    sum over e of s_j(e) * x(e), j = 0..15, where s_j(e) = -1 if bit j of bits(e) is set, else +1, for the
             stream {seed = SEED[model] * 16 + 4, Purpose::rotation, step = parameter number}
    [17+i]   x(i * (count / 64)), i = 0..63 (integer division)
The mean square of the differences of the 16 projections estimates the squared norm of the error of the whole
tensor without bias, because the signs are independent.
"""

import pathlib
import sys

import numpy as np
import torch

import philox
import safetensors_io
from models import make_model

FOLDER = pathlib.Path(__file__).resolve().parent
STEPS = 2
FULL_UP_TO = 1024
PROJECTIONS = 16
SAMPLES = 64
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
BATCH = {"resnet_20": 5, "alexnet": 3, "simple": 5}
LR = {"resnet_20": 0.1, "alexnet": 0.01, "simple": 0.1}
# Chosen with --find-seed: no ReLU input and no two candidates of a max pool lie so close together that rounding
# in float32 could turn a comparison, which would change a gradient by far more than rounding does.
SEED = {"resnet_20": 12, "alexnet": 9, "simple": 187}
# float32 against float64 in PyTorch itself; what a float32 engine is then asked for is ten times wider.
LIMITS = {"logits": 2e-6, "loss": 2e-6, "grad": 1e-5, "param_after": 1e-5, "momentum_after": 1e-5, "buffer_after": 1e-5}


class Recipe:
    """The start values of one model, as the table above defines them."""

    def __init__(self, name, seed):
        self.seed, self.batch = seed, BATCH[name]

    def _u(self, kind, number, count):
        return philox.uniform(self.seed * 16 + kind, philox.INIT_WEIGHTS, number, count)

    def _symmetric(self, kind, number, shape, bound):
        u = self._u(kind, number, int(np.prod(shape)))
        return ((np.float32(2) * u - np.float32(1)) * np.float32(bound)).reshape(shape)

    def _around_one(self, kind, number, shape):
        return (np.float32(0.5) + self._u(kind, number, int(np.prod(shape)))).reshape(shape)

    def parameter(self, number, name, shape):
        if len(shape) > 1:
            return self._symmetric(0, number, shape, np.sqrt(3.0 / np.prod(shape[1:])))
        if name.endswith(".weight"):
            return self._around_one(0, number, shape)
        return self._symmetric(0, number, shape, 0.125)

    def momentum(self, number, shape):
        return self._symmetric(1, number, shape, 0.0078125)

    def buffer(self, number, name, shape):
        if name.endswith("running_var"):
            return self._around_one(2, number, shape)
        return self._symmetric(2, number, shape, 0.125)

    def images(self, step):
        u = self._u(3, step, self.batch * 3 * 32 * 32)
        return (np.float32(4) * u - np.float32(2)).reshape(self.batch, 3, 32, 32)

    def labels(self, step):
        return (7 * np.arange(self.batch) + step) % 10


def buffers_of(model):
    return [(name, b) for name, b in model.named_buffers() if not name.endswith("num_batches_tracked")]


def start(name, recipe, dtype):
    """(model, optimizer) holding the start values exactly."""
    model = make_model(name, dropout=0.0).to(dtype).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR[name], momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    with torch.no_grad():
        for number, (key, p) in enumerate(model.named_parameters()):
            p.copy_(torch.from_numpy(recipe.parameter(number, key, tuple(p.shape))))
            momentum = torch.from_numpy(recipe.momentum(number, tuple(p.shape))).to(dtype)
            optimizer.state[p]["momentum_buffer"] = momentum
        for number, (key, b) in enumerate(buffers_of(model)):
            b.copy_(torch.from_numpy(recipe.buffer(number, key, tuple(b.shape))))
    return model, optimizer


def run_step(model, optimizer, recipe, step, dtype):
    """name -> float64 array of everything the step produced."""
    optimizer.zero_grad(set_to_none=True)
    logits = model(torch.from_numpy(recipe.images(step)).to(dtype))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(recipe.labels(step)))
    loss.backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters()}
    optimizer.step()
    found = {"logits": logits, "loss": loss.reshape(1)}
    for key, p in model.named_parameters():
        found[f"grad.{key}"] = gradients[key]
        found[f"param_after.{key}"] = p
        found[f"momentum_after.{key}"] = optimizer.state[p]["momentum_buffer"]
    for key, b in buffers_of(model):
        found[f"buffer_after.{key}"] = b
    return {key: value.detach().to(torch.float64).numpy().copy() for key, value in found.items()}


def summary(array, seed, number):
    """[81]: norm, projections, samples."""
    flat = array.reshape(-1)
    words = philox.bits(seed * 16 + 4, philox.ROTATION, number, flat.size)
    out = [np.linalg.norm(flat)]
    for j in range(PROJECTIONS):
        out.append(flat.sum() - 2.0 * flat[(words >> np.uint32(j)) & np.uint32(1) != 0].sum())
    return np.concatenate([out, flat[np.arange(SAMPLES) * (flat.size // SAMPLES)]])


def relative_error(x, reference):
    return np.linalg.norm((x - reference).reshape(-1)) / np.linalg.norm(reference.reshape(-1))


class Comparisons:
    """Watches every ReLU and max pool of a model while the `with` block lasts.

    closest: the smallest distance at which a comparison was decided, relative to the spread of its tensor.
    inputs: what the ReLUs were given, in float64, if `keep`.
    """

    def __init__(self, model, keep=False):
        self.closest, self.inputs, self._keep = np.inf, [], keep
        self._relu, self._pool = torch.relu, torch.nn.functional.max_pool2d
        self._modules = [m for m in model.modules() if isinstance(m, (torch.nn.ReLU, torch.nn.MaxPool2d))]

    def __enter__(self):
        torch.relu, torch.nn.functional.max_pool2d = self._watched_relu, self._watched_pool
        for module in self._modules:
            is_relu = isinstance(module, torch.nn.ReLU)
            module.forward = self._watched_relu if is_relu else (lambda x: self._watched_pool(x, 2))
        return self

    def __exit__(self, *_):
        torch.relu, torch.nn.functional.max_pool2d = self._relu, self._pool
        for module in self._modules:
            del module.forward

    def _watched_relu(self, x):
        self._note(x.abs().min(), x)
        if self._keep:
            self.inputs.append(x.detach().to(torch.float64))
        return self._relu(x)

    def _watched_pool(self, x, size):
        n, c, h, w = x.shape
        tiles = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
        best = tiles.permute(0, 1, 2, 4, 3, 5).reshape(-1, 4).topk(2).values
        gap = (best[:, 0] - best[:, 1])[best[:, 0] > 0]  # where the ReLU left only zeros nothing is decided
        self._note(gap.min(), x)
        return self._pool(x, size)

    def _note(self, distance, x):
        self.closest = min(self.closest, float(distance / x.std()))


def closest_comparison(name, seed, at_least=0.0):
    """Over all steps; gives up below `at_least`."""
    recipe = Recipe(name, seed)
    model, optimizer = start(name, recipe, torch.float64)
    with Comparisons(model) as comparisons:
        for step in range(STEPS):
            run_step(model, optimizer, recipe, step, torch.float64)
            if comparisons.closest < at_least:
                break
    return comparisons.closest


def find_seed(name, first, last):
    best, closest = None, 0.0
    for seed in range(first, last + 1):
        found = closest_comparison(name, seed, closest)
        if found > closest:
            best, closest = seed, found
            print(f"{name}: seed {best}, closest comparison {closest:.2e}", flush=True)


def rounding_at_comparisons(wide, narrow):
    """The largest difference between what ReLUs were given in two precisions, relative to the spread."""
    return max(float((a - b).abs().max() / a.std()) for a, b in zip(wide.inputs, narrow.inputs))


def print_bf16_errors(name):
    """How far PyTorch itself strays under autocast in the first step: what the bf16 test measures ours by."""
    recipe = Recipe(name, SEED[name])
    found = run_step(*start(name, recipe, torch.float64), recipe, 0, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = run_step(*start(name, recipe, torch.float32), recipe, 0, torch.float32)
    errors = {key: relative_error(narrow[key], array) for key, array in found.items()}
    gradients = [key for key in found if key.startswith("grad.")]
    whole = np.concatenate([found[key].reshape(-1) for key in gradients])
    whole_narrow = np.concatenate([narrow[key].reshape(-1) for key in gradients])
    buffers = [errors[key] for key in found if key.startswith("buffer_after.")]
    print(f"{name} under autocast: logits {errors['logits']:.4f}, loss {errors['loss']:.4f}, running statistics "
          f"{max(buffers, default=0.0):.4f}, median gradient {np.median([errors[key] for key in gradients]):.3f}, "
          f"whole gradient {relative_error(whole_narrow, whole):.3f}")  # fmt: skip


def make(name):
    recipe = Recipe(name, SEED[name])
    reference, reference_sgd = start(name, recipe, torch.float64)
    single, single_sgd = start(name, recipe, torch.float32)
    numbers = {key: number for number, (key, _) in enumerate(reference.named_parameters())}
    stored, failed = {}, False
    for step in range(STEPS):
        with Comparisons(reference, keep=True) as wide:
            found = run_step(reference, reference_sgd, recipe, step, torch.float64)
        with Comparisons(single, keep=True) as narrow:
            found32 = run_step(single, single_sgd, recipe, step, torch.float32)
        worst = {}
        for key, array in found.items():
            kind, _, parameter = key.partition(".")
            error = relative_error(found32[key], array)
            worst[kind] = max(worst.get(kind, (0.0, "")), (error, parameter))
            if array.size <= FULL_UP_TO:
                stored[f"step{step}.{key}"] = array
            else:
                stored[f"step{step}.{kind}_summary.{parameter}"] = summary(array, recipe.seed, numbers[parameter])
        print(f"{name} step {step}: loss {found['loss'][0]:.6f}; closest comparison {wide.closest:.1e}, "
              f"float32 moves one by up to {rounding_at_comparisons(wide, narrow):.1e}; "
              "float32 against float64, worst relative error:")  # fmt: skip
        for kind, (error, parameter) in worst.items():
            failed |= not error <= LIMITS[kind]
            print(f"    {kind:15} {error:.2e}  {parameter}")
    metadata = {"model": name, "seed": str(recipe.seed), "batch": str(recipe.batch), "steps": str(STEPS),
                "lr": str(LR[name]), "momentum": str(MOMENTUM), "weight_decay": str(WEIGHT_DECAY),
                "dropout": "0", "torch": torch.__version__}  # fmt: skip
    path = FOLDER / f"{name}.safetensors"
    safetensors_io.write(path, stored, metadata)
    print(f"    {path.name}: {len(stored)} tensors, {path.stat().st_size} bytes")
    return not failed


def main():
    torch.set_num_threads(1)  # the order of sums, and with it every bit of the files, is then fixed
    philox.check_known_answers()
    if len(sys.argv) == 5 and sys.argv[1] == "--find-seed":
        find_seed(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return 0
    if len(sys.argv) != 1:
        print("usage: make_goldens.py [--find-seed MODEL FIRST LAST]", file=sys.stderr)
        return 2
    good = [make(name) for name in SEED]
    for name in SEED:
        print_bf16_errors(name)
    if not all(good):
        print("float32 and float64 differ by more than rounding: choose another seed (--find-seed).")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
