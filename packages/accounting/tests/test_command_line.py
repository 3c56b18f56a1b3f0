import csv
import io
import json
import subprocess
import sys
from dataclasses import fields

import pytest

from hornbook.accounting import Shape
from hornbook.accounting.__main__ import main, make_parser
from hornbook.accounting.reports import SECTIONS

SIZES = [
    *("--vocab-size", "10", "--context-length", "16", "--num-layers", "1"),
    *("--d-model", "4", "--num-heads", "2", "--d-ff", "8"),
]


def printed(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    main(flags)
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    return capsys.readouterr().err


def test_a_preset_prints_both_ledgers_and_their_sums(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--preset", "tinystories")
    for figure in (
        "22,696,448",
        "22.7 M parameters",
        "12.5 M without",
        "9,533,652,992",
        "forward 9.53 GFLOP",
    ):
        assert figure in text
    assert "steps" not in text


def test_flags_change_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--preset", "gpt2-xl", "--tied-embeddings", "--d-ff", "4288", "--ffn", "silu")
    assert "tied_embeddings=True" in text and "d_ff=4288" in text and "feed-forward W1, W2" in text


def test_every_switch_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    for field in fields(Shape):
        assert f"--{field.name.replace('_', '-')}" in make_parser().format_help()
    switches = ["--qk-norm", "--value-residual", "--embedding-shortcut", "--num-kv-heads", "4"]
    text = printed(capsys, "--preset", "tinystories", "--ffn", "relu2", *switches)
    for figure in ("norms of Q, K", "value residual", "embedding shortcut", "num_kv_heads=4", "18,371,342"):
        assert figure in text
    assert printed(capsys, "--preset", "tinystories", "--no-qk-norm") == printed(
        capsys, "--preset", "tinystories"
    )


def test_all_sizes_make_a_shape_without_preset(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, *SIZES, "--sequence-length", "3")
    assert "252" in text and "1,344" in text


def test_a_run_has_tokens_flops_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    steps = ["--batch-size", "1024", "--num-steps", "400000"]
    device = ["--peak-flops-per-second", "19.5e12", "--mfu", "0.5"]
    text = printed(capsys, "--preset", "gpt2-xl", *steps, *device)
    assert text.splitlines()[-1] == "400,000 steps: 419 B tokens, 5.55 ZFLOP, 18 years"


def test_wrong_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "give also --vocab-size, --context-length, --num-layers" in refusal(capsys, "--d-model", "4")
    assert "give also --d-ff\n" in refusal(capsys, *SIZES[:-2])
    assert "must be a multiple of num_heads" in refusal(capsys, *SIZES, "--num-heads", "3")
    assert "must be a multiple of num_kv_heads" in refusal(capsys, *SIZES, "--num-kv-heads", "3")
    assert "d_ff must be at least 1, got 0" in refusal(capsys, "--preset", "tinystories", "--d-ff", "0")
    assert "num_steps must be at least 1, got 0" in refusal(capsys, *SIZES, "--num-steps", "0")
    assert "go together" in refusal(capsys, *SIZES, "--mfu", "0.4")
    assert "must not exceed context_length" in refusal(capsys, *SIZES, "--sequence-length", "17")


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "hornbook.accounting", "--preset", "gpt2-xl"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert "2,127,057,600" in result.stdout and "4,513,336,524,800" in result.stdout


def test_every_format_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--preset", "gpt2-xl", "--table", "parameters", "--format")
    markdown = printed(capsys, *flags, "markdown")
    assert "| attention Q, O | 2 (d, d) | 2·L·d² | 245,760,000 |" in markdown
    latex = printed(capsys, *flags, "latex")
    assert r"attention Q, O & 2 (d, d) & 2$\cdot$L$\cdot$d$^2$ & 245,760,000 \\" in latex
    rows = list(csv.DictReader(io.StringIO(printed(capsys, *flags, "csv"))))
    assert sum(int(row["num_parameters"]) for row in rows) == 2_127_057_600
    data = json.loads(printed(capsys, *flags, "json"))
    assert sum(row["num_parameters"] for row in data["parameters"]) == 2_127_057_600
    assert data["shape"]["d_model"] == 1_600


def test_each_section_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [flag for name in SECTIONS for flag in ("--table", name)]
    device = ("--hardware", "h100", "--tokens-per-second", "1e6")
    text = printed(capsys, "--preset", "tinystories", *device, *flags)
    for figure in (
        "22,696,448",
        "output head",
        "recompute",
        "AdamW",
        "SwiGLU",
        "one token after 255",
        "bandwidth",
        "MFU, PaLM",
        "11.29%",
    ):
        assert (figure in text) is (figure != "recompute")
    assert "recompute" in printed(capsys, "--preset", "tinystories", "--table", "training", "--checkpointing")


def test_memory_names_the_largest_batch_or_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--preset", "gpt2-xl", "--budget", "80GB", "--attention", "explicit")
    assert "largest batch in 80 GB: 4" in text
    assert "10 GB more than the budget of 24 GB" in refusal(capsys, "--preset", "gpt2-xl", "--budget", "24GB")
    assert "bytes are a number and one of" in refusal(capsys, "--preset", "gpt2-xl", "--budget", "24")
    assert "must be more than 0" in refusal(capsys, "--preset", "gpt2-xl", "--budget=-3GB")


def test_a_run_on_hardware_has_time_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    run = ("--num-steps", "400000", "--batch-size", "1024", "--cost-per-device-hour", "2")
    text = printed(
        capsys, "--preset", "gpt2-xl", "--hardware", "a100", "--dtype", "fp32", "--mfu", "0.5", *run
    )
    assert (
        "400,000 steps: 419 B tokens, 5.55 ZFLOP, 18 years, 158,005.4 device hours, cost 316,010.71" in text
    )
    assert "did you mean 'h100'" in refusal(
        capsys, "--preset", "gpt2-xl", "--hardware", "h10", "--mfu", "0.5"
    )


def test_shapes_are_compared_and_fields_swept(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--compare", "gpt2-small", "gpt2-xl", "--budget", "24GiB")
    assert "11.17" in text and text.count("\n") == 7
    table = printed(
        capsys, "--preset", "gpt2-small", "--sweep", "context_length=1024,4096", "--format", "csv"
    )
    first, second = csv.DictReader(io.StringIO(table))
    assert (first["context_length"], first["forward FLOPs"]) == ("1024", "349630365696")
    assert int(second["forward FLOPs"]) > 4 * int(first["forward FLOPs"])
    switches = printed(capsys, "--preset", "tinystories", "--sweep", "checkpointing=false,true")
    assert "False" in switches and "True" in switches
    assert "there is no field 'depth'" in refusal(capsys, "--preset", "gpt2-xl", "--sweep", "depth=1,2")
    assert "--sweep is a field and its values" in refusal(capsys, "--preset", "gpt2-xl", "--sweep", "d_ff")


def test_numbers_are_numbers_where_a_program_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    device = ("--hardware", "h100", "--tokens-per-second", "1e6", "--format")
    for section in ("roofline", "utilization"):
        flags = ("--preset", "tinystories", "--table", section, *device)
        rows = json.loads(printed(capsys, *flags, "json"))[section]
        assert all(isinstance(value, str | int | float) for row in rows for value in row.values())
        numbers = [name for name, value in rows[0].items() if isinstance(value, float)]
        assert (
            numbers
            == {
                "roofline": ["intensity", "seconds"],
                "utilization": ["flops_per_token", "flops_per_second", "utilization"],
            }[section]
        )
        for row in csv.DictReader(io.StringIO(printed(capsys, *flags, "csv"))):
            assert all(float(row[name]) > 0 for name in numbers)


def test_the_masked_half_and_the_optimizer_are_flags(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--preset", "gpt2-xl", "--table", "forward", "--causal-half")
    text = printed(capsys, *flags)
    assert "4,352,275,251,200" in text and "causal attention halved" in text
    text = printed(capsys, "--preset", "gpt2-xl", "--table", "memory", "--optimizer", "muon")
    assert "4·H" in text and "8·E" in text and "at the highest: static 17.7 GB, gradients 8.51 GB" in text


def test_what_a_section_needs_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--preset", "gpt2-xl", "--table")
    assert "roofline is of a device: give --hardware" in refusal(capsys, *flags, "roofline")
    assert "give --tokens-per-second" in refusal(capsys, *flags, "utilization", "--hardware", "h100")
    assert "tokens_per_second must be more than 0" in refusal(
        capsys, *flags, "utilization", "--hardware", "h100", "--tokens-per-second=-1"
    )


def test_shapes_without_memory_are_compared_by_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--compare", "gpt2-xl", "released-gpt2-xl", "--budget", "80GB", "--format", "json")
    rows = {row["figure"]: row for row in json.loads(text)}
    assert rows["parameters"]["released-gpt2-xl"] == 1_557_611_200
    assert rows["peak bytes"]["gpt2-xl"] > 0 and rows["peak bytes"]["released-gpt2-xl"] is None
    assert rows["largest batch"]["ratio"] is None
    assert "released-gpt2-xl" in printed(capsys, "--compare", "gpt2-xl", "released-gpt2-xl")


def test_what_a_run_depends_on_is_swept_too(capsys: pytest.CaptureFixture[str]) -> None:
    run = ("--preset", "gpt2-xl", "--num-tokens", "419430400000", "--dtype", "fp32", "--format", "csv")
    device = ("--hardware", "a100", "--mfu", "0.5", "--cost-per-device-hour", "2", "--budget", "80GB")

    def swept(field: str, *values: str) -> list[dict[str, str]]:
        text = printed(capsys, *run, *device, "--sweep", f"{field}={','.join(values)}")
        return list(csv.DictReader(io.StringIO(text)))

    half, quarter = swept("mfu", "0.5", "0.25")
    assert float(half["seconds"]) == pytest.approx(568_819_274, abs=1)
    assert float(quarter["seconds"]) == pytest.approx(2 * float(half["seconds"]))
    one, eight = swept("num_devices", "1", "8")
    assert float(one["seconds"]) == pytest.approx(8 * float(eight["seconds"]))
    assert float(one["cost"]) == pytest.approx(float(eight["cost"]))
    slow, fast = swept("hardware", "a100", "h100")
    assert float(slow["seconds"]) / float(fast["seconds"]) == pytest.approx(67 / 19.5)
    assert [row["largest batch"] for row in swept("budget_bytes", "80GB", "80GiB")] == ["8", "9"]
    assert "did you mean 'h100'" in refusal(capsys, *run, *device, "--sweep", "hardware=h10")
    assert "num_devices must be an int, got 1.5" in refusal(
        capsys, *run, *device, "--sweep", "num_devices=1.5"
    )


def test_flags_that_exclude_each_other_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    both = ("--hardware", "h100", "--peak-flops-per-second", "5e12", "--mfu", "0.4")
    assert "give either --hardware or --peak-flops-per-second" in refusal(
        capsys, "--preset", "gpt2-xl", *both
    )
    compare = ("--compare", "gpt2-small", "gpt2-xl")
    for more in (("--preset", "gpt2-xl"), ("--sweep", "d_ff=1"), ("--table", "memory")):
        assert "without --preset, --sweep and --table" in refusal(capsys, *compare, *more)


def test_json_has_the_figures_of_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    run = (
        "--hardware",
        "a100",
        "--dtype",
        "fp32",
        "--mfu",
        "0.5",
        "--num-steps",
        "400000",
        "--batch-size",
        "1024",
    )
    data = json.loads(printed(capsys, "--preset", "gpt2-xl", *run, "--format", "json"))
    assert data["figures"]["seconds"] == pytest.approx(568_819_274, abs=1)
    assert data["figures"]["parameters"] == 2_127_057_600


@pytest.mark.parametrize(
    ("sweep", "values"),
    [
        ("norm=pre,post,none", ["pre", "post", "none"]),
        ("position=rope,none", ["rope", "none"]),
        ("num_kv_heads=none,4", ["None", "4"]),
        ("--tied-embeddings=true,false", ["True", "False"]),
        ("batch-size=1,2", ["1", "2"]),
        ("budget=1GB,80GiB", ["1GB", "80GiB"]),
        ("overhead=1GB,2GB", ["1GB", "2GB"]),
        ("causal_half=true,false", ["True", "False"]),
        ("optimizer=adamw,muon", ["adamw", "muon"]),
    ],
)
def test_a_sweep_goes_over_any_field_by_its_name_or_its_flags(
    capsys: pytest.CaptureFixture[str], sweep: str, values: list[str]
) -> None:
    text = printed(capsys, "--preset", "tinystories", f"--sweep={sweep}", "--format", "csv")
    _, *rows = csv.reader(io.StringIO(text))
    assert [row[0] for row in rows] == values
    assert len({tuple(row[1:]) for row in rows}) == len(values)  # each value says something else


def test_a_sweep_gives_what_it_goes_over(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--preset", "tinystories", "--num-tokens", "1000000", "--format", "csv")
    over_mfu = printed(capsys, *flags, "--hardware", "h100", "--sweep", "mfu=0.25,0.5")
    seconds = [float(row["seconds"]) for row in csv.DictReader(io.StringIO(over_mfu))]
    assert seconds[0] == 2 * seconds[1]
    over_devices = printed(capsys, *flags, "--mfu", "0.5", "--sweep", "hardware=h100,h200")
    assert [float(row["seconds"]) for row in csv.DictReader(io.StringIO(over_devices))] == [seconds[1]] * 2
    speed = ("--hardware", "h100", "--sweep", "tokens_per_second=1e6,2e6", "--tokens-per-second", "1")
    rows = [*csv.DictReader(io.StringIO(printed(capsys, *flags, *speed)))]
    assert f"{float(rows[0]['MFU']):.4f}" == "0.1129" and float(rows[1]["MFU"]) == 2 * float(rows[0]["MFU"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--budget -80GB", "bytes must be more than 0 and finite, got -80000000000.0"),
        ("--budget=", "bytes are a number and one of"),
        ("--overhead -1GB --table memory", "bytes must be more than 0"),
        ("--num-devices 0", "num_devices must be at least 1, got 0"),
        ("--num-tokens 0", "num_tokens must be at least 1, got 0"),
        ("--tokens-per-second 100", "measured against a peak: give --hardware"),
        ("--cost-per-device-hour 2", "the price of a time: give --hardware and --mfu"),
        ("--hardware h100 --tokens-per-second 1e9", "take 110 times the peak of H100 SXM in bf16"),
        ("--table roofline --peak-flops-per-second 1e12", "a roofline needs bytes_per_second, got 0"),
        ("--sweep d_model=512 --table memory", "without --table, got --table memory"),
        ("--budget 100MB --table memory", "264 MB more than the budget of 100 MB"),
        ("--num-layers 100000000 --table memory", "of 10,000 at most, got num_layers 100,000,000"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_two_lines(
    capsys: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    usage, error = refusal(capsys, "--preset", "tinystories", *flags.split()).splitlines()
    assert usage.startswith("usage: ") and message in error


def test_a_measured_speed_is_of_the_sequences_that_were_asked_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ("--hardware", "h100", "--tokens-per-second", "1e6", "--preset", "tinystories")
    assert "11.29%" in printed(capsys, *flags) and "11.29%" not in printed(
        capsys, *flags, "--sequence-length", "16"
    )


def test_tokens_alone_are_a_run_too(capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--num-tokens", "1024000"], ["--num-steps", "4000"]):
        text = printed(capsys, "--preset", "tinystories", *flags)
        assert text.splitlines()[-1] == "4,000 steps: 1.02 M tokens, 114 TFLOP"
    assert (
        printed(capsys, "--preset", "tinystories", "--num-steps", "1").splitlines()[-1].startswith("1 step:")
    )


def test_latex_is_tables_and_comments(capsys: pytest.CaptureFixture[str]) -> None:
    tables = [flag for name in SECTIONS for flag in ("--table", name)]
    run = ("--num-steps", "10", "--mfu", "0.5", "--tokens-per-second", "1e4", "--hardware", "h100")
    text = printed(capsys, "--preset", "gpt2-xl", *run, *tables, "--format", "latex", "--optimizer", "muon")
    inside = False
    for line in filter(None, text.splitlines()):
        inside = inside or line.startswith("\\begin{tabular}")
        assert inside or line.startswith("% ")
        inside = inside and line != "\\end{tabular}"
    assert text.count("\\begin{tabular}") == len(SECTIONS)


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m hornbook.accounting --preset gpt2-xl --table training | head -1"
    result = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert result.stdout.startswith("vocab_size=") and result.stderr == ""
