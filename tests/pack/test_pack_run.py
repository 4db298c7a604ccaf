import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.masks import Masks, save_masks
from crisp_loop.core.pattern import NM
from crisp_loop.pack.container import read_packed
from crisp_loop.pack.header import FORMAT
from crisp_loop.pack.run import PackSummary, pack_masks

NM24 = NM(2, 4)
Arrays = dict[str, np.ndarray]


@pytest.fixture
def network() -> tuple[Arrays, Arrays]:
    """A state dict and masks with one hybrid, one N:M and two dense layers."""
    rng = np.random.default_rng(7)
    state: Arrays = {
        "stem.weight": rng.standard_normal((16, 3, 3, 3), dtype=np.float32),
        "layer2.weight": rng.standard_normal((32, 16, 3, 3), dtype=np.float32),
        "layer2.bias": rng.standard_normal(32, dtype=np.float32),
        "layer10.weight": rng.standard_normal((24, 32, 1, 1), dtype=np.float32),
        "norm.weight": np.ones(32, np.float32),
        "norm.num_batches_tracked": np.array(3, np.int64),
        "head.weight": rng.standard_normal((10, 24), dtype=np.float32),
    }
    # N:M along input channels, and in OIHW the blocks of 16 are single kernel positions.
    inner = rng.random((32, 4, 4, 3, 3)).argsort(axis=2).argsort(axis=2) < 2
    mask = inner.reshape(32, 16, 3, 3)
    for half, kept in ((0, [0, 4, 5]), (1, [1, 2, 8])):
        positions = np.zeros(9, np.bool_)
        positions[kept] = True
        mask[half * 16 : half * 16 + 16] &= positions.reshape(3, 3)
    pointwise = rng.random((24, 8, 4)).argsort(axis=2).argsort(axis=2) < 2
    masks: Arrays = {
        "layer2": mask,
        "layer10": pointwise.reshape(24, 32, 1, 1),
        "head": np.ones((10, 24), np.bool_),
    }
    return state, masks


def write(folder: Path, state: Arrays, masks: Arrays) -> tuple[Path, Path]:
    save_file(state, folder / "weights.safetensors")
    save_masks(folder / "masks.safetensors", Masks("tiny", NM24, 16, masks))
    return folder / "weights.safetensors", folder / "masks.safetensors"


@pytest.fixture
def packed(tmp_path: Path, network: tuple[Arrays, Arrays]) -> PackSummary:
    return pack_masks(*write(tmp_path, *network), tmp_path / "pack")


def test_state_dict_comes_back_masked(packed: PackSummary, network: tuple[Arrays, Arrays]) -> None:
    state, masks = network
    read = read_packed(packed.packed)
    assert read.model == "tiny"
    decoded = read.state_dict()
    assert decoded.keys() == state.keys()
    for key, tensor in state.items():
        mask = masks.get(key.removesuffix(".weight"), np.True_)
        expected = np.where(mask, tensor, tensor.dtype.type(0))
        assert decoded[key].dtype == tensor.dtype
        assert decoded[key].shape == tensor.shape
        assert decoded[key].tobytes() == expected.tobytes()


def test_storage_table(packed: PackSummary) -> None:
    with packed.storage.open(newline="") as file:
        rows = {row["layer"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["head", "layer2", "layer10", "stem"]
    assert [row["form"] for row in rows.values()] == ["dense", "hybrid", "nm", "dense"]
    hybrid = rows["layer2"]
    # S = 32, K = 144 = 9 blocks of 16, 3 kept in each of 2 block-rows.
    nnz = 32 * 48 // 2
    expected = {
        "S": 32,
        "K": 144,
        "block": 16,
        "kept_blocks": 3,
        "nnz": nnz,
        "stored_values": nnz,
        "dense_bits": 32 * 144 * 32,
        "value_bits": nnz * 32,
        "block_index_bits": 2 * 3 * 4,
        "offset_bits": nnz * 2,
        "metadata_bits": 2 * 3 * 4 + nnz * 2,
        "paper_metadata_bits": 2 * 3 * 1 + nnz * 2,
        "csr_bits": nnz * 8 + 33 * 10,
        "csc_bits": nnz * 5 + 145 * 10,
        "coo_bits": nnz * 13,
        "ellpack_bits": 32 * 24 * 8,
        "bitmask_bits": 32 * 144,
    }
    assert {name: int(hybrid[name]) for name in expected} == expected
    assert hybrid["nm"] == "2:4"
    assert rows["layer10"]["block"] == rows["layer10"]["kept_blocks"] == ""
    assert int(rows["layer10"]["metadata_bits"]) == 24 * 16 * 2
    assert int(rows["stem"]["metadata_bits"]) == int(rows["stem"]["csr_bits"]) == 0
    assert packed.total("offset_bits") == nnz * 2 + 24 * 16 * 2


@pytest.mark.filterwarnings("ignore:Sparse BSR tensor support")
def test_block_indices_of_the_file_equal_torch_bsr(
    packed: PackSummary, network: tuple[Arrays, Arrays]
) -> None:
    layer = next(la for la in read_packed(packed.packed).layers if la.name == "layer2")
    matrix = torch.from_numpy(network[1]["layer2"]).permute(0, 2, 3, 1).reshape(32, 144).float()
    bsr = matrix.to_sparse_bsr((16, 16))
    assert bsr.crow_indices().tolist() == [0, 3, 6]
    assert layer.stored.indices().reshape(-1).tolist() == bsr.col_indices().tolist()  # type: ignore[union-attr]


def test_equal_networks_make_equal_bytes(tmp_path: Path, network: tuple[Arrays, Arrays]) -> None:
    weights, masks = write(tmp_path, *network)
    first = pack_masks(weights, masks, tmp_path / "one").packed.read_bytes()
    assert pack_masks(weights, masks, tmp_path / "two").packed.read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "packed.safetensors",
        "storage.csv",
    ]


def rewrite(path: Path, change: str) -> None:
    """Damage a packed file in one way."""
    data = path.read_bytes()
    header_size = int.from_bytes(data[:8], "little")
    tensors = load_file(path)
    sealed = json.loads(data[8 : 8 + header_size])["__metadata__"][FORMAT]
    if change == "truncated":
        path.write_bytes(data[:-1])
    elif change == "flipped bit":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif change == "header shape":
        path.write_bytes(data.replace(b"[32,16,3,3]", b"[32,16,9,1]"))
    elif change == "tensor missing":
        del tensors["layer2.weight.offsets"]
        save_file(tensors, path, {FORMAT: sealed})
    elif change == "tensor added":
        save_file(tensors | {"extra": np.zeros(1)}, path, {FORMAT: sealed})
    elif change == "tensors swapped":
        tensors["norm.weight"], tensors["layer2.bias"] = (
            tensors["layer2.bias"],
            tensors["norm.weight"],
        )
        save_file(tensors, path, {FORMAT: sealed})
    elif change == "no header":
        save_file(tensors, path)
    elif change == "broken header":
        save_file(tensors, path, {FORMAT: "[]"})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("truncated", "not a readable packed network"),
        ("flipped bit", "is not what was written"),
        ("header shape", "its header is not what was written"),
        ("tensor missing", "differ in 'layer2.weight.offsets'"),
        ("tensor added", "differ in 'extra'"),
        ("tensors swapped", "is not what was written"),
        ("no header", "is no packed network"),
        ("broken header", "not the JSON expected"),
    ],
)
def test_damaged_files_are_refused(packed: PackSummary, change: str, sentence: str) -> None:
    rewrite(packed.packed, change)
    with pytest.raises(CrispLoopError, match=sentence) as caught:
        read_packed(packed.packed)
    assert "\n" not in str(caught.value)


def test_resealed_header_with_parts_that_do_not_fit(packed: PackSummary) -> None:
    from crisp_loop.core.files import sha256

    data = packed.packed.read_bytes()
    size = int.from_bytes(data[:8], "little")
    sealed = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][FORMAT])
    for old, new, sentence in (
        ('"kept_blocks":3', '"kept_blocks":2', "do not make 2 of 9 blocks"),
        ('"block":16', '"block":0', "do not divide"),
        ('"version":1', '"version":2', "expected version 1"),
        ('"nm":"2:4"', '"nm":"5:4"', "expected N:M"),
        ('"form":"dense"', '"form":"csr"', "'dense', 'nm' or 'hybrid'"),
    ):
        assert old in sealed["header"]
        text = sealed["header"].replace(old, new)
        save_file(
            load_file(packed.packed),
            packed.packed.with_name("changed"),
            {FORMAT: json.dumps({"seal": sha256(text), "header": text})},
        )
        with pytest.raises(CrispLoopError, match=sentence):
            read_packed(packed.packed.with_name("changed"))


def test_refused_inputs(tmp_path: Path, network: tuple[Arrays, Arrays]) -> None:
    state, masks = network

    def refused(sentence: str, state: Arrays, masks: Arrays) -> None:
        with pytest.raises(CrispLoopError, match=sentence) as caught:
            pack_masks(*write(tmp_path, state, masks), tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    dense = np.ones((16, 3, 3, 3), np.bool_)
    dense[0, 0, 0, 0] = False
    refused("layer stem cannot be packed: K = 27 holds no whole groups", state, {"stem": dense})
    refused("layer 'other' has no weight in", state, {"other": dense})
    refused("expected the weight's shape", state, {"head": dense})
    uneven = masks["layer2"].copy()
    uneven[:16] = False
    refused("block-rows 0 and 1 keep 0 and 3 blocks", state, {"layer2": uneven})
    weights, mask_file = write(tmp_path, state, masks)
    with pytest.raises(CrispLoopError, match=r"does not exist; expected a weights file"):
        pack_masks(tmp_path / "none", mask_file, tmp_path / "out")
    weights.write_bytes(b"junk")
    with pytest.raises(CrispLoopError, match="is not a readable weights file"):
        pack_masks(weights, mask_file, tmp_path / "out")


def test_bfloat16_weights_are_refused_in_one_sentence(
    tmp_path: Path, network: tuple[Arrays, Arrays]
) -> None:
    from safetensors.torch import save_file as save_torch

    weights, masks = write(tmp_path, *network)
    save_torch({"head.weight": torch.ones(10, 24, dtype=torch.bfloat16)}, weights)
    with pytest.raises(CrispLoopError):
        pack_masks(weights, masks, tmp_path / "out")
