import io
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hornbook.trainer.tensor_file import build_header, encode, infos_of, read_header, read_tensors

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8,
    torch.bool,
]  # fmt: skip
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def some_tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    torch.manual_seed(draw(st.integers(0, 99)))
    tensors = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=5), max_size=6, unique=True)):
        dtype = draw(st.sampled_from(DTYPES))
        values = torch.randint(0, 2, draw(SHAPES)) * 3
        tensors[name] = (values.bool() if dtype is torch.bool else values).to(dtype)
    tensors.pop("__metadata__", None)
    return tensors


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        (a.dtype, a.shape, a.numpy(force=True).tobytes() if a.dtype not in SPECIAL else a.float().tolist())
        == (b.dtype, b.shape, b.numpy(force=True).tobytes() if b.dtype not in SPECIAL else b.float().tolist())
        for a, b in ((first[name], second[name]) for name in first)
    )


SPECIAL = {torch.bfloat16, torch.float8_e4m3fn}  # numpy lacks them


@given(some_tensors())
def test_the_library_reads_what_we_write_and_we_read_what_it_writes(tensors: dict[str, Tensor]) -> None:
    ours = b"".join(encode(tensors, {"made": "here"}))
    assert same(safetensors.torch.load(ours), tensors)
    theirs = io.BytesIO(safetensors.torch.save(tensors, {"made": "there"}))
    header = read_header(theirs)
    assert header.metadata == {"made": "there"}
    pieces: list[bytes] = []
    assert same(read_tensors(theirs, header, lambda piece: pieces.append(bytes(piece))), tensors)
    assert header.raw + b"".join(pieces) == theirs.getvalue()
    assert header.num_bytes == len(theirs.getvalue())


def test_what_has_no_bytes_in_memory_is_refused_by_name() -> None:
    for tensor in (
        torch.empty(2, device="meta"),
        torch.eye(2).to_sparse(),
        torch.zeros(1, dtype=torch.complex128),
    ):
        with pytest.raises(TypeError, match=r"weight is .*: it can't be saved"):
            encode({"weight": tensor})


def test_parts_of_a_tensor_and_turned_ones_are_written_as_they_look() -> None:
    whole = torch.arange(12).reshape(3, 4)
    tensors = {"turned": whole.T, "part": whole[1:, ::2], "number": torch.tensor(7)}
    file = io.BytesIO(b"".join(encode(tensors)))
    assert same(read_tensors(file, read_header(file), lambda _: None), tensors)


def a_header(content: object, more: bytes = b"") -> io.BytesIO:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return io.BytesIO(len(text).to_bytes(8, "little") + text + more)


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (io.BytesIO(b""), "is no safetensors file"),
        (
            io.BytesIO((2**63).to_bytes(8, "little") + b"{}"),
            "its header would have 9,223,372,036,854,775,808",
        ),
        (io.BytesIO((9).to_bytes(8, "little") + b"{}"), "ends within its header of 9 bytes"),
        (a_header([]), "is a list, not an object"),
        (a_header(b'{"a": 1,,}'), "is not JSON"),
        (a_header(b"\xff\xfe{}"), "is not JSON"),
        (a_header(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "is nested too deep"),
        (a_header(b'{"a": {}, "b": {}, "a": {}}'), "names 'a' twice"),
        (a_header(b'{"a": NaN}'), "holds NaN, which is no number"),
        (a_header({"a": GOOD, "b": GOOD}), "has 'b' at byte 0 of its data, where 8 would be next"),
        (a_header({"a": GOOD | {"data_offsets": [8, 16]}}), "has 'a' at byte 8 of its data, where 0"),
        (a_header({"a": GOOD | {"shape": [3]}}), "describes no tensor by 'a'"),
        (a_header({"a": GOOD | {"shape": [-2]}}), "describes no tensor by 'a'"),
        (a_header({"a": GOOD | {"shape": [True, 2]}}), "describes no tensor by 'a'"),
        (a_header({"a": GOOD | {"shape": [1] * 1000 + [2]}}), "describes no tensor by 'a'"),
        (
            a_header({"a": GOOD | {"shape": [2**62, 0], "data_offsets": [0, -8]}}),
            "describes no tensor by 'a'",
        ),
        (a_header({"a": GOOD | {"dtype": "F31"}}), "describes no tensor by 'a'"),
        (a_header({"a": GOOD | {"dtype": ["F32"]}}), "describes no tensor by 'a'"),
        (a_header({"a": GOOD | {"more": 1}}), "describes no tensor by 'a'"),
        (a_header({"a": 5}), "describes no tensor by 'a'"),
    ],
)
def test_a_header_that_lies_is_refused(file: io.BytesIO, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_header(file)


def test_tensors_cut_short_are_refused() -> None:
    file = a_header({"a": GOOD}, b"1234567")
    with pytest.raises(ValueError, match="ends within 'a'"):
        read_tensors(file, read_header(file), lambda _: None)


def test_a_header_is_laid_out_the_same_from_what_it_says(tmp_path: Path) -> None:
    tensors = {"b": torch.zeros(2, dtype=torch.int8), "a": torch.zeros(0), "c": torch.zeros(2, 2)}
    header = build_header(infos_of(tensors), {"x": "y"})
    again = read_header(io.BytesIO(header.raw))
    assert build_header(again.tensors, again.metadata) == header == again
