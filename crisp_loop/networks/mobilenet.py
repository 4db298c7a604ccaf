"""MobileNetV2 (Sandler et al., CVPR 2018) at width 1, and a small one for 8 x 8 digits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of the paper: expansion, output channels, blocks, stride of the first block."""
_DIGITS = ((1, 16, 1, 1), (4, 32, 1, 2), (4, 64, 2, 2))


def _conv_bn_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Pointwise expansion, 3x3 depthwise convolution, pointwise projection."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(_conv_bn_relu(inputs, hidden, 1))
        layers += [
            _conv_bn_relu(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Stem, inverted residuals, a last 1x1 convolution and the classifier.

    Args:
        classes: Outputs.
        stages: Expansion, output channels, blocks, and stride of the first block of each stage.
        channels: Input channels.
        stem: Output channels and stride of the first convolution.
        last: Output channels of the last convolution.
    """

    def __init__(
        self,
        classes: int,
        stages: Sequence[tuple[int, int, int, int]] = _STAGES,
        channels: int = 3,
        stem: tuple[int, int] = (32, 2),
        last: int = 1280,
    ) -> None:
        super().__init__()
        inputs, stride = stem
        layers: list[nn.Module] = [_conv_bn_relu(channels, inputs, 3, stride)]
        for expansion, outputs, depth, first_stride in stages:
            for index in range(depth):
                stride = first_stride if index == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, stride, expansion))
                inputs = outputs
        layers.append(_conv_bn_relu(inputs, last, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, channels, H, W) to logits (B, classes)."""
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))


def mobilenetv2(classes: int = 1000) -> MobileNetV2:
    """MobileNetV2: 3,504,872 parameters at 1000 classes."""
    return MobileNetV2(classes)


def digits_mobilenet(classes: int = 10) -> MobileNetV2:
    """Four inverted residuals of 16, 32 and 64 channels for (B, 1, 8, 8) images.

    All channel counts but the input's are multiples of 16, so that blocks of 16 divide every
    pointwise layer.
    """
    return MobileNetV2(classes, _DIGITS, channels=1, stem=(16, 1), last=128)
