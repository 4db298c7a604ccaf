"""Recorded failures of the reference tool, and the sentences they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from crisp_loop.tools.failures import EvaluationError, explain

DATA = Path(__file__).parent / "data"


SENTENCES = {
    "baddim": "factors of X, which problem.shape does not have",
    "badformat": "the rank format XYZ is unknown",
    "badtype": "the value many of data_storage_depth is not a number",
    "bytes": "error at line 3, column 1: end of sequence flow not found",
    "distribution": "the density distribution clumped is unknown",
    "ertnotables": "ERT needs version 0.2, 0.3 or 0.4 and tables",
    "factors": "factors of N multiply to 512, but the problem has N = 256",
    "fanout": "spreads 8 instances of RF along Y, but meshY gives 4",
    "map_at64": "width/datawidth is 2, 4, 8, 16 or 32 words",
    "mesh": "meshX and meshY of a level do not multiply",
    "noinstance": "problem.instance does not give the size of every dimension",
    "nomapping": "the spec lacks the key mapping",
    "ranks": "ranks of a tensor at DRAM",
    "ranks_smem": "A has more non-trivial loops at SMEM than representation_format has ranks",
    "rfcap": "kept at RF hold 1024 words, more than its capacity of 10",
    "spatialspell": "action_optimization has an unknown type",
    "spatialtarget": "spatial factors at LRF, but there is no fan-out below it",
    "unknowntarget": "name the level L2, which the architecture does not have",
    "uop_under_cp": "a compressed rank stands above an uncompressed one",
    "v04": "written for the v0.4 front end",
}


def test_every_recording_has_its_sentence() -> None:
    assert {path.stem for path in DATA.glob("logs/*.log")} == set(SENTENCES)


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_recorded_failures(name: str) -> None:
    log = (DATA / "logs" / f"{name}.log").read_text(encoding="utf-8")
    cause = explain(log, -6)
    assert SENTENCES[name] in cause
    assert "\n" not in cause


@pytest.mark.parametrize(
    ("log", "status", "sentence"),
    [
        ("", -11, "it was ended by SIGSEGV and said nothing"),
        ("", -99, "it was ended by signal 99 and said nothing"),
        ("hm\n\nodd\n", 3, "it ended with status 3, its last words: odd"),
        ("terminate called\n  what():  YAML::InvalidNode\n", -6, "the spec lacks a key"),
        ("x: Assertion `a == b' failed.\n", -6, "an internal check failed (a == b)"),
        ("ERROR: couldn't map level L1: it rains\n", 1, "level L1 cannot be mapped: it rains"),
        ("ERROR: no such thing.\n", 1, "no such thing"),
        ("Traceback:\n  File x\nValueError: bad key 'foo'.\n", 1, "ValueError: bad key 'foo'"),
        (
            "timeloop-model: error while loading shared libraries: libisl.so.23: gone\n",
            127,
            "a library is missing: libisl.so.23: gone",
        ),
    ],
)
def test_other_ends(log: str, status: int, sentence: str) -> None:
    assert sentence in explain(log, status)


def test_the_error_names_spec_cause_log_and_rerun() -> None:
    text = str(EvaluationError("a/spec.yaml", "it rains", "tool 'a b'", "/keep/log"))
    for part in ("a/spec.yaml", "it rains", "tool 'a b'", "/keep/log"):
        assert part in text
