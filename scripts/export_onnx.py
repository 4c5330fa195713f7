#!/usr/bin/env python3
"""Writes a trained model as ONNX, for onnxruntime and other programs that run networks.

    export_onnx.py CHECKPOINT MODEL.onnx

CHECKPOINT is a checkpoint or model file of cifar_train. The graph is the network as it is evaluated: batch norms with
their running statistics, no dropout; weights have PyTorch's names. Its input `images` is float32 [batch,3,32,32]:
a pixel p of 0..255 in channel c becomes (p/255 - mean[c]) / std[c], with the means and deviations that are among the
model's metadata. Its output `logits` is float32 [batch,10]. Opset 13.

Needs Debian's python3-numpy.
"""
import argparse
import sys

try:
    import numpy  # noqa: F401
except ImportError:
    sys.exit("numpy is missing: apt-get install python3-numpy")

import model_files
import networks
import onnx_messages as onnx

# data/augment.h
MEAN, STD = "0.4914 0.4822 0.4465", "0.2023 0.1994 0.2010"
EPSILON = 1e-5


class Graph:
    """Follows a walk over a network's layers; a layer's output goes by the name of the layer."""

    def __init__(self):
        self.nodes, self.used = [], 0

    def _add(self, operator, inputs, name=None, **attributes):
        if name is None:
            self.used += 1
            name = f"{operator.lower()}_{self.used}"
        self.nodes.append(onnx.node(operator, inputs, name, **attributes))
        return name

    def conv(self, x, name, channels_in, channels, kernel, stride, padding, bias):
        parameters = [f"{name}.weight"] + ([f"{name}.bias"] if bias else [])
        return self._add("Conv", [x] + parameters, name, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         pads=[padding] * 4)

    def batch_norm(self, x, name, channels):
        parameters = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return self._add("BatchNormalization", [x] + parameters, name, epsilon=EPSILON)

    def linear(self, x, name, features_in, features):
        return self._add("Gemm", [x, f"{name}.weight", f"{name}.bias"], name, transB=1)

    def relu(self, x):
        return self._add("Relu", [x])

    def add(self, x, y):
        return self._add("Add", [x, y])

    def max_pool(self, x):
        return self._add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def average_pool(self, x, size):
        return self._add("AveragePool", [x], kernel_shape=[size] * 2, strides=[size] * 2)

    def flatten(self, x):
        return self._add("Flatten", [x], axis=1)


def export(tensors, metadata):
    """The bytes of the ONNX file."""
    graph, name = Graph(), metadata["model"]
    result = networks.walk(name, graph, "images")
    graph.nodes.append(onnx.node("Identity", [result], "logits"))
    properties = {"model": name, "mean": MEAN, "std": STD}
    properties.update({key: metadata[key] for key in ("step", "epoch", "seed") if key in metadata})
    return onnx.model(name, graph.nodes,
                      [onnx.tensor(key, array) for key, array in model_files.weights(tensors, metadata).items()],
                      [onnx.value("images", ["batch", 3, 32, 32])], [onnx.value("logits", ["batch", 10])],
                      metadata["format_version"], properties)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("output", metavar="MODEL.onnx")
    arguments = parser.parse_args()
    content = export(*model_files.read(arguments.checkpoint))

    def write_to(path):
        with open(path, "wb") as file:
            file.write(content)

    model_files.write(arguments.output, write_to, [arguments.checkpoint])


if __name__ == "__main__":
    main()
