"""Residual networks: ResNet-18 and -50, ResNet-20 for CIFAR, and one for 8 x 8 digits.

He et al., "Deep residual learning for image recognition", CVPR 2016. The stride of a
bottleneck stands on its 3x3 convolution, as in torchvision ("ResNet v1.5").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """1x1 convolution that matches the shapes of both branches; None where they agree."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, width, H/stride, W/stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the last one widens four times."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 4 * width, H/stride, W/stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pooling and a classifier.

    Args:
        block: The residual block.
        depths: Blocks of each stage.
        widths: Width of each stage; every stage after the first halves height and width.
        classes: Outputs.
        channels: Input channels.
        image_stem: The 7x7 stride-2 stem with max-pooling of ImageNet; else a 3x3 stem that
            keeps the input's size.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        classes: int,
        channels: int = 3,
        image_stem: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(channels, widths[0], 7 if image_stem else 3, 2 if image_stem else 1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if image_stem else nn.Identity()
        inputs = widths[0]
        self.stages: list[str] = []
        for number, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if index == 0 and number > 1 else 1
                blocks.append(block(inputs, width, stride))
                inputs = width * block.expansion
            self.stages.append(f"layer{number}")
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, channels, H, W) to logits (B, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(classes: int = 1000) -> ResNet:
    """ResNet-18: 11,689,512 parameters at 1000 classes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512), classes)


def resnet20(classes: int = 10) -> ResNet:
    """The CIFAR network of section 4.2 with n = 3: 272,474 parameters at 10 classes.

    Shortcuts that change shape are 1x1 convolutions (option B); the paper's CIFAR networks pad
    with zeros there (option A), which has 2,752 parameters fewer.
    """
    return ResNet(BasicBlock, (3, 3, 3), (16, 32, 64), classes, image_stem=False)


def resnet50(classes: int = 1000) -> ResNet:
    """ResNet-50: 25,557,032 parameters at 1000 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), classes)


def digits_resnet(classes: int = 10) -> ResNet:
    """Three residual stages of 32, 64 and 128 channels for (B, 1, 8, 8) images.

    All channel counts but the input's are multiples of 32, so that blocks of 16 and 32
    divide every layer after the stem.
    """
    return ResNet(BasicBlock, (1, 1, 1), (32, 64, 128), classes, channels=1, image_stem=False)
