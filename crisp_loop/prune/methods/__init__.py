"""Pruning methods: CRISP and the baselines it is compared with, all on the same terms.

Each follows the same loop, samples, epochs and learning rates; they differ in what they mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crisp_loop.prune.config import MethodName
from crisp_loop.prune.methods.base import Method, Setting
from crisp_loop.prune.methods.channel import Channels, by_capnn, by_ocap, by_saliency
from crisp_loop.prune.methods.hybrid import Hybrid
from crisp_loop.prune.methods.unstructured import Unstructured

METHODS: Mapping[MethodName, Callable[[Setting], Method]] = {
    "crisp": Hybrid,
    "blocks": Hybrid,
    "nm": Hybrid,
    "unstructured": Unstructured,
    "channel": lambda setting: Channels(setting, by_saliency),
    "ocap": lambda setting: Channels(setting, by_ocap),
    "capnn": lambda setting: Channels(setting, by_capnn),
}
"""``PruneConfig.method`` to what decides its masks; ``dense`` has none."""


def method_for(setting: Setting) -> Method:
    """The method that the configuration names."""
    return METHODS[setting.config.method](setting)
