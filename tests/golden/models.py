"""The three networks of cifar_train as PyTorch modules, with the parameter names that its files use.

Structure only: widths, strides, names and order of the parameters. Initial values are set by whoever uses them.
Written for the PyTorch 1.13 of Debian's python3-torch.
"""

import torch
from torch import nn


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)); a 1x1 convolution and a batch norm where shapes change."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + shortcut)


class ResNet(nn.Module):
    """CIFAR ResNet of depth 6n+2: widths 16/32/64, n blocks a stage, 8x8 average pool, 64 -> 10."""

    def __init__(self, depth=20):
        super().__init__()
        assert (depth - 2) % 6 == 0, "a CIFAR ResNet has depth 6n+2"
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.fc = nn.Linear(64, 10)

    @staticmethod
    def _stage(channels_in, channels, blocks, stride):
        first = BasicBlock(channels_in, channels, stride)
        return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(nn.functional.avg_pool2d(x, 8).flatten(1))


class AlexNet(nn.Module):
    """AlexNet for 32x32 images. `dropout` is the probability of both dropout layers."""

    def __init__(self, dropout=0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 192, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(1024, 4096), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, 10),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Simple(nn.Module):
    """Two 5x5 convolutions and three linear layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


PARAMETER_COUNTS = {"resnet_20": 272_474, "alexnet": 23_272_266, "simple": 62_006}


def make_model(name, dropout=0.0):
    """The model cifar_train calls `name`: resnet_20 (any resnet_<6n+2>), alexnet or simple."""
    if name == "alexnet":
        model = AlexNet(dropout)
    elif name == "simple":
        model = Simple()
    elif name.startswith("resnet_"):
        model = ResNet(int(name[len("resnet_"):]))
    else:
        raise ValueError(f"no model '{name}': resnet_<6n+2>, alexnet or simple")
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETER_COUNTS.get(name, count), f"{name} has {count} parameters"
    return model
