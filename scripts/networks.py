"""The networks of cifar_train as walks over their layers: for names and shapes of their parameters, or another form.

A walk hands each layer to `net`, whose methods take the layer's input x and return its output, whatever these are:

    conv(x, name, channels_in, channels, kernel, stride, padding, bias)     batch_norm(x, name, channels)
    relu(x)  add(x, y)  max_pool(x)  average_pool(x, size)  flatten(x)      linear(x, name, features_in, features)

Names are PyTorch's; layers with parameters come in PyTorch's order of parameters. Pooling is 2x2 with stride 2, or
`size` x `size`. Dropout is left out: outside of training it does nothing.
"""
import re


def walk(model, net, x=None):
    """The output of `model` for the input x. Raises ValueError for a model that is none."""
    if model == "alexnet":
        return _alexnet(net, x)
    if model == "simple":
        return _simple(net, x)
    depth = re.fullmatch("resnet_([0-9]{1,4})", model)
    if not depth or not 8 <= int(depth[1]) <= 1002 or (int(depth[1]) - 2) % 6:
        raise ValueError(f"there is no model '{model}': resnet_N with N = 6n+2, alexnet or simple")
    return _resnet(net, x, (int(depth[1]) - 2) // 6)


def _resnet(net, x, blocks):
    def conv_bn(x, conv, bn, channels_in, channels, kernel, stride):
        x = net.conv(x, conv, channels_in, channels, kernel, stride, kernel // 2, False)
        return net.batch_norm(x, bn, channels)

    x, channels_in = net.relu(conv_bn(x, "conv1", "bn1", 3, 16, 3, 1)), 16
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
            shortcut = x
            x = net.relu(conv_bn(x, name + "conv1", name + "bn1", channels_in, channels, 3, stride))
            x = conv_bn(x, name + "conv2", name + "bn2", channels, channels, 3, 1)
            if channels_in != channels:
                down = name + "downsample."
                shortcut = conv_bn(shortcut, down + "0", down + "1", channels_in, channels, 1, stride)
            x, channels_in = net.relu(net.add(x, shortcut)), channels
    return net.linear(net.flatten(net.average_pool(x, 8)), "fc", 64, 10)


def _alexnet(net, x):
    for name, channels_in, channels, stride, pooled in (
        (0, 3, 64, 2, True), (3, 64, 192, 1, True), (6, 192, 384, 1, False), (8, 384, 256, 1, False),
        (10, 256, 256, 1, True),
    ):  # fmt: skip
        x = net.relu(net.conv(x, f"features.{name}", channels_in, channels, 3, stride, 1, True))
        x = net.max_pool(x) if pooled else x
    x = net.relu(net.linear(net.flatten(x), "classifier.1", 1024, 4096))
    x = net.relu(net.linear(x, "classifier.4", 4096, 4096))
    return net.linear(x, "classifier.6", 4096, 10)


def _simple(net, x):
    x = net.max_pool(net.relu(net.conv(x, "conv1", 3, 6, 5, 1, 0, True)))
    x = net.max_pool(net.relu(net.conv(x, "conv2", 6, 16, 5, 1, 0, True)))
    x = net.relu(net.linear(net.flatten(x), "fc1", 400, 120))
    return net.linear(net.relu(net.linear(x, "fc2", 120, 84)), "fc3", 84, 10)


class _Shapes:
    def __init__(self):
        self.shapes, self.batch_norms = {}, []

    def conv(self, x, name, channels_in, channels, kernel, stride, padding, bias):
        self.shapes[f"{name}.weight"] = (channels, channels_in, kernel, kernel)
        if bias:
            self.shapes[f"{name}.bias"] = (channels,)

    def batch_norm(self, x, name, channels):
        self.batch_norms.append(name)
        self.shapes.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})

    def linear(self, x, name, features_in, features):
        self.shapes.update({f"{name}.weight": (features, features_in), f"{name}.bias": (features,)})

    def relu(self, x):
        pass

    flatten = max_pool = relu

    def average_pool(self, x, size):
        pass

    add = average_pool


def shapes(model):
    """(name -> shape of parameters and running statistics, names of the batch norms)."""
    net = _Shapes()
    walk(model, net)
    return net.shapes, net.batch_norms


def model_of(names):
    """The model that has tensors of these names, judged by a few of them; None where there is none."""
    if "features.0.weight" in names:
        return "alexnet"
    if "fc3.weight" in names:
        return "simple"
    blocks = len({name.split(".")[1] for name in names if re.match(r"layer1\.[0-9]+\.", name)})
    return f"resnet_{6 * blocks + 2}" if blocks else None
