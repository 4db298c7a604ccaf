"""Prune a network of one's own for three digits, and train it on with the masks held."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import crisp_loop.api as crisp


def network() -> nn.Module:
    """Any module with Conv2d or Linear layers will do."""
    layers = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()]
    layers += [nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    """Adam, in batches of 64."""
    optimizer = torch.optim.Adam(model.parameters(), 2e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()


def report(when: str, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Print accuracy, and the share of zeros in the conv and linear weights."""
    right = (model(images).argmax(dim=1) == labels).float().mean()
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    share = zeros / sum(weight.numel() for weight in weights)
    print(f"{when:<22} accuracy {right:6.1%}   zeros {share:6.1%}")


torch.manual_seed(0)
pixels, digits = load_digits(return_X_y=True)
images, labels = torch.tensor(pixels).float().view(-1, 1, 8, 8) / 16, torch.tensor(digits)
train_part = torch.arange(len(labels)) < 1400
mine = torch.isin(labels, torch.tensor([3, 5, 8]))
own = images[mine & train_part], labels[mine & train_part]
held_out = images[mine & ~train_part], labels[mine & ~train_part]

model = network()
train(model, images[train_part], labels[train_part], epochs=8)
report("dense", model, *held_out)

masks = crisp.prune(model, own, crisp.CrispConfig(nm=crisp.NM(2, 4), block=16, sparsity=0.85))
report("pruned", model, *held_out)
path = Path("runs/own_model/masks.safetensors")
crisp.save_masks(path, masks)

# Elsewhere: a plain model with the pruned weights and the masks, trained on.
fresh = network()
fresh.load_state_dict(model.state_dict())
masks = crisp.load_masks(path)
with crisp.freeze_masks(fresh, masks):
    train(fresh, *own, epochs=3)
for name, keep in masks.layers.items():
    assert not fresh.get_submodule(name).weight[~torch.from_numpy(keep)].any(), name
report("trained on with Adam", fresh, *held_out)
