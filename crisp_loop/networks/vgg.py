"""VGG-16 with and without batch norm (Simonyan and Zisserman, ICLR 2015, configuration D)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Output channels of each 3x3 convolution; 0 stands for 2x2 max-pooling."""


class VGG(nn.Module):
    """Thirteen 3x3 convolutions and three linear layers."""

    def __init__(self, classes: int, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _WIDTHS:
            if width == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, classes)."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg16(classes: int = 1000) -> VGG:
    """VGG-16: 138,357,544 parameters at 1000 classes."""
    return VGG(classes, batch_norm=False)


def vgg16_bn(classes: int = 1000) -> VGG:
    """VGG-16 with batch norm: 138,365,992 parameters at 1000 classes."""
    return VGG(classes, batch_norm=True)
