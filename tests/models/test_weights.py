"""The weights of a pilot: what is read back is what was written, and nothing else is ever believed."""

import errno
import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from exphil_core.errors import CheckpointError, DiskFullError
from exphil_core.models.weights import checksum, read_step, read_weights, write_weights


@pytest.fixture
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "enter.weight": torch.randn(40, 30),
        "enter.bias": torch.randn(40),
        "count": torch.tensor(7),
        "half": torch.randn(5, 3).to(torch.bfloat16),
        "none": torch.zeros(0, 4),
    }


def test_what_is_read_is_what_was_written(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    written = write_weights(path, weights, step=12)
    found = read_weights(path)
    assert (found.step, found.checksum) == (12, written) == (read_step(path), checksum(weights))
    assert found.tensors.keys() == weights.keys()
    for name, tensor in weights.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
    assert list(tmp_path.iterdir()) == [path]


def test_a_checksum_is_of_names_types_shapes_and_every_bit(weights: dict[str, Tensor]) -> None:
    found = checksum(weights)
    assert 0 <= found < 2**64
    assert checksum(dict(reversed(weights.items()))) == found
    assert checksum({name: tensor.clone() for name, tensor in weights.items()}) == found
    assert checksum({**weights, "enter.weight": weights["enter.weight"].t().contiguous().t()}) == found

    changed = weights["enter.weight"].clone()
    changed.view(torch.int32)[17, 3] ^= 1
    others = [
        {**weights, "enter.weight": changed},
        {**weights, "enter.weight": weights["enter.weight"].reshape(30, 40)},
        {**weights, "enter.weight": weights["enter.weight"].view(torch.int32)},
        {**weights, "enter.bias": weights["enter.bias"].flip(0)},
        {("exit" if name == "half" else name): tensor for name, tensor in weights.items()},
        {name: tensor for name, tensor in weights.items() if name != "none"},
    ]
    assert len({found, *map(checksum, others)}) == len(others) + 1


def test_a_checksum_stays_what_it_was(weights: dict[str, Tensor]) -> None:
    """Two versions of exphil may stand at the two ends of a file."""
    digest = hashlib.blake2b(b"a torch.float32 [2, 1]\n" + bytes(8), digest_size=8).digest()
    assert checksum({"a": torch.zeros(2, 1)}) == int.from_bytes(digest, "big")


def test_a_file_that_was_cut_anywhere_is_a_sentence(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    write_weights(path, weights, step=12)
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 200, *range(400, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"weights\.safetensors is (cut off|damaged)"):
            read_weights(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(path)


def test_no_flipped_bit_is_taken_for_weights(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    write_weights(path, weights, step=12)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = torch.Generator().manual_seed(0)
    for place in torch.randint(8 * header, 8 * len(whole), (200,), generator=chance).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged: its weights are not those of its checksum"):
            read_weights(path)
    for place in range(8 * header):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read_weights(path)
        except CheckpointError:
            continue
        # Of the header, the step alone is nobody's checksum.
        assert checksum(found.tensors) == checksum(weights)


def test_what_is_missing_of_another_version_or_no_weights_is_a_sentence(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(CheckpointError, match="there are no weights yet"):
        read_weights(path)
    assert read_step(path) is None
    path.mkdir()
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        read_weights(path)
    path.rmdir()
    path.write_bytes(b"neither weights nor anything else, but long enough")
    with pytest.raises(CheckpointError, match="cut off or no weights at all"):
        read_weights(path)
    write_weights(path, weights, step=1)
    path.write_bytes(path.read_bytes().replace(b'"v":"1"', b'"v":"9"'))
    with pytest.raises(CheckpointError, match="of version 9; this exphil reads version 1"):
        read_weights(path)


def test_a_disk_without_room_leaves_the_weights_before(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    before = write_weights(path, weights, step=1)

    def full(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError, match="no room left on the disk"):
        write_weights(path, weights, step=2)
    assert (read_weights(path).step, read_weights(path).checksum) == (1, before)
    assert list(tmp_path.iterdir()) == [path]
