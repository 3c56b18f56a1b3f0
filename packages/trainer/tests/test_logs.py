from pathlib import Path

import pytest

from hornbook.trainer import COLUMNS, CsvSink, JsonLinesSink, Row, read_rows


def row(step: int) -> Row:
    return Row(
        step=step,
        train_loss=1 / 3,
        val_loss=None if step % 2 else 0.1,
        lr=3e-4,
        wallclock_time=1.5,
        tokens_processed=step * 8,
        grad_norm=2.0,
        tokens_per_second=100.0,
        mfu=None,
        bits_per_byte=None,
        skipped_steps=0,
    )


def written(path: Path, steps: range, start: int) -> list[list[str]]:
    sink = CsvSink(path)
    sink.start(start)
    for step in steps:
        sink.log(row(step))
    sink.close()
    return read_rows(path)


def test_a_resumed_file_has_no_gap_and_no_double(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert len(written(path, range(1, 6), start=0)) == 5
    # The process died at step 5 and its last checkpoint was that of step 3.
    assert [line[0] for line in written(path, range(4, 8), start=3)] == ["1", "2", "3", "4", "5", "6", "7"]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    written(path, range(1, 4), start=0)
    path.write_bytes(path.read_bytes() + b"4,0.33")
    assert [line[0] for line in read_rows(path)] == ["1", "2", "3"]
    assert [line[0] for line in written(path, range(4, 5), start=3)] == ["1", "2", "3", "4"]


def test_numbers_read_back_exactly_and_nothing_is_an_empty_field(tmp_path: Path) -> None:
    first, second = written(tmp_path / "m.csv", range(1, 3), start=0)
    assert float(first[COLUMNS.index("train_loss")]) == 1 / 3
    assert (first[COLUMNS.index("val_loss")], second[COLUMNS.index("val_loss")]) == ("", "0.1")


def test_a_file_of_other_columns_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(ValueError, match="begins with 'step,loss', expected 'step,train_loss"):
        CsvSink(tmp_path / "m.csv").start(1)
    assert (tmp_path / "m.csv").read_text() == "step,loss\n1,2\n"


def test_a_file_from_before_a_column_was_added_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    older = COLUMNS[: COLUMNS.index("flops_per_second")]
    path.write_text(",".join(older) + "\n" + ",".join("1" for _ in older) + "\n")
    first, second = written(path, range(2, 3), start=1)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert (first[0], second[0], first[-1]) == ("1", "2", "")
    assert len(first) == len(second) == len(COLUMNS)


@pytest.mark.parametrize("kind", [CsvSink, JsonLinesSink])
@pytest.mark.parametrize("edited", [b"\n", b"x,1\n", b"{}\n", b"[1]\n", b'{"step": \n', b"\xff\xfe\n"])
def test_a_line_that_an_edit_has_spoilt_is_named_and_nothing_is_lost(
    tmp_path: Path, kind: type[CsvSink | JsonLinesSink], edited: bytes
) -> None:
    path = tmp_path / "metrics"
    sink = kind(path)
    sink.start(0)
    sink.log(row(1))
    sink.close()
    path.write_bytes(spoilt := path.read_bytes() + edited)
    with pytest.raises(ValueError, match=f"{path} (has a line that tells no step|is not the text).* mend it"):
        kind(path).start(1)
    assert path.read_bytes() == spoilt


def test_logging_before_the_start_is_a_mistake_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="before start"):
        CsvSink(tmp_path / "m.csv").log(row(1))
