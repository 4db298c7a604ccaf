"""One experiment from end to end: the list of stages."""

from crisp_loop.pipeline.experiment import Experiment, load_experiment
from crisp_loop.pipeline.run import run_experiment

__all__ = ["Experiment", "load_experiment", "run_experiment"]
