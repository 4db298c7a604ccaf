"""Whether the hardware can hold the mapping: capacities and fanout with densities in account."""

from __future__ import annotations

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop import IllegalMappingError, evaluate


def check_mapping(spec: Spec) -> None:
    """What the analytic engine knows to be illegal, before another tool is called.

    It knows the tiles of compressed tensors, metadata stores, and what spatial skipping leaves of a
    fanout. A spec that it does not model is left to the tool.

    Raises:
        IllegalMappingError: the mapping does not fit; the message names file and level.
    """
    try:
        evaluate(spec)
    except IllegalMappingError as error:
        said = str(error).replace(spec.source, spec.where("mapping"), 1)
        raise IllegalMappingError(said) from None
    except CrispLoopError:
        return
