"""VGG-16 with and without batch norm (Simonyan and Zisserman, ICLR 2015, configuration D).

And a small one for 8 x 8 digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Output channels of each 3x3 convolution; 0 stands for 2x2 max-pooling."""
_DIGITS = (32, 32, 0, 64, 64, 0)


class VGG(nn.Module):
    """3x3 convolutions with max-pooling between them, and three linear layers.

    Args:
        classes: Outputs.
        batch_norm: Whether each convolution has one.
        widths: Output channels of each convolution; 0 stands for max-pooling.
        channels: Input channels.
        pooled: Height and width that the classifier sees.
        hidden: Outputs of the first two linear layers.
    """

    def __init__(
        self,
        classes: int,
        batch_norm: bool,
        widths: Sequence[int] = _WIDTHS,
        channels: int = 3,
        pooled: int = 7,
        hidden: int = 4096,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            if width == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = nn.Sequential(
            nn.Linear(channels * pooled**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, channels, H, W) to logits (B, classes)."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg16(classes: int = 1000) -> VGG:
    """VGG-16: 138,357,544 parameters at 1000 classes."""
    return VGG(classes, batch_norm=False)


def vgg16_bn(classes: int = 1000) -> VGG:
    """VGG-16 with batch norm: 138,365,992 parameters at 1000 classes."""
    return VGG(classes, batch_norm=True)


def digits_vgg(classes: int = 10) -> VGG:
    """Four convolutions of 32 and 64 channels, with batch norm, for (B, 1, 8, 8) images."""
    return VGG(classes, batch_norm=True, widths=_DIGITS, channels=1, pooled=2, hidden=256)
