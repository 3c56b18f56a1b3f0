"""What devices can do, by their makers' datasheets: dense matrix products, without sparsity."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from ._checks import require_number

DType: TypeAlias = Literal["fp32", "tf32", "bf16", "fp8"]
"""What is multiplied: float32 on ordinary units, float32 rounded to 10 bits (TF32), bfloat16, 8 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """One device.

    Args:
        name: As people call it.
        peak_flops_per_second: Dense peak for each dtype that it has.
        memory_bytes: Of the device; a GB of a datasheet is 10^9 bytes. 0 where it depends on the machine.
        bytes_per_second: Between memory and processor; 0 where it is not known: there is no roofline.
        source: Where the figures stand.
        cuda_names: What `torch.cuda.get_device_name` calls it.

    Raises:
        ValueError: If a figure is out of range.
        TypeError: If a figure is not a number.
    """

    name: str
    peak_flops_per_second: Mapping[DType, float]
    memory_bytes: float
    bytes_per_second: float
    source: str
    cuda_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for dtype, peak in self.peak_flops_per_second.items():
            require_number(f"peak_flops_per_second[{dtype!r}]", peak)
        require_number("memory_bytes", self.memory_bytes, zero=True)
        require_number("bytes_per_second", self.bytes_per_second, zero=True)

    def peak(self, dtype: DType) -> float:
        """The dense peak, in FLOP/s.

        Raises:
            ValueError: If the device has no such dtype; the message lists those it has.
        """
        if dtype not in self.peak_flops_per_second:
            have = ", ".join(self.peak_flops_per_second)
            msg = f"{self.name} has no peak for {dtype!r}, it has {have}"
            raise ValueError(msg)
        return self.peak_flops_per_second[dtype]


def _device(
    name: str,
    memory_gb: float,
    gb_per_second: float,
    source: str,
    cuda_names: tuple[str, ...] = (),
    **teraflops: float,
) -> Hardware:
    peaks: dict[DType, float] = {dtype: value * 1e12 for dtype, value in teraflops.items()}  # type: ignore[misc]
    return Hardware(
        name=name,
        peak_flops_per_second=MappingProxyType(peaks),
        memory_bytes=memory_gb * 1e9,
        bytes_per_second=gb_per_second * 1e9,
        source=source,
        cuda_names=cuda_names,
    )


# Where a datasheet's figures are for sparse matrices (it says so), which are twice the dense ones: half.
HARDWARE: Mapping[str, Hardware] = MappingProxyType(
    {
        "a100": _device(
            "A100 SXM 80 GB",
            80,
            2_039,
            "NVIDIA A100 Tensor Core GPU datasheet (2021), column SXM 80 GB",
            ("NVIDIA A100-SXM4-80GB",),
            fp32=19.5,
            tf32=156,
            bf16=312,
        ),
        "h100": _device(
            "H100 SXM",
            80,
            3_350,
            "NVIDIA H100 Tensor Core GPU datasheet (2023), column H100 SXM",
            ("NVIDIA H100 80GB HBM3",),
            fp32=67,
            tf32=494.5,
            bf16=989.5,
            fp8=1_979,
        ),
        "h200": _device(
            "H200 SXM",
            141,
            4_800,
            "NVIDIA H200 Tensor Core GPU datasheet (2024), column H200 SXM",
            ("NVIDIA H200",),
            fp32=67,
            tf32=494.5,
            bf16=989.5,
            fp8=1_979,
        ),
        "b200": _device(
            "B200",
            180,
            8_000,
            "an eighth of eight: memory, bandwidth and FP8 from the NVIDIA DGX B200 datasheet (2024), the "
            "others from NVIDIA's table of HGX B200 (2025)",
            ("NVIDIA B200",),
            fp32=75,
            tf32=1_100,
            bf16=2_250,
            fp8=4_500,
        ),
        "l4": _device(
            "L4",
            24,
            300,
            "NVIDIA L4 Tensor Core GPU datasheet (2023)",
            ("NVIDIA L4",),
            fp32=30.3,
            tf32=60,
            bf16=121,
            fp8=242.5,
        ),
        "rtx4090": _device(
            "RTX 4090",
            24,
            1_008,
            "NVIDIA Ada GPU Architecture whitepaper, V2 (2023), appendix A, with FP32 accumulate",
            ("NVIDIA GeForce RTX 4090",),
            fp32=82.6,
            tf32=82.6,
            bf16=165.2,
            fp8=330.3,
        ),
        # Apple prints no clock; there is no faster unit for bfloat16.
        "m2-ultra": _device(
            "M2 Ultra, 76 GPU cores",
            192,
            800,
            "Apple's announcement (June 2023): memory, bandwidth; FLOP/s are 76 cores x 128 lanes x 2 x "
            "1.398 GHz, the clock as others measured it",
            fp32=27.2,
            bf16=27.2,
        ),
        "m3-max": _device(
            "M3 Max, 40 GPU cores",
            128,
            400,
            "Apple's announcement (October 2023): memory, bandwidth; FLOP/s are 40 cores x 128 lanes x 2 x "
            "1.38 GHz, the clock as others measured it (1.38 to 1.40)",
            fp32=14.1,
            bf16=14.1,
        ),
    }
)
"""Devices by the names of the command line. A CPU is in no table: measure it, see `apps/account.py`."""


def hardware_named(cuda_name: str) -> Hardware | None:
    """Return the device that CUDA calls so; None if it is not in the table.

    A PCIe card of the same chip has another clock and another name: it is not taken for the one in the table.

    Args:
        cuda_name: What `torch.cuda.get_device_name` says.

    Example:
        >>> hardware_named("NVIDIA A100-SXM4-80GB").name, hardware_named("NVIDIA H100 PCIe")
        ('A100 SXM 80 GB', None)
    """
    return next((device for device in HARDWARE.values() if cuda_name in device.cuda_names), None)


def find_hardware(name: str) -> Hardware:
    """Find a device by its name.

    Args:
        name: A key of `HARDWARE`, in small or capital letters.

    Raises:
        ValueError: If it is unknown; the message names the nearest and lists all.

    Example:
        >>> find_hardware("A100").peak("fp32")
        19500000000000.0
    """
    key = name.lower().replace(" ", "").replace("_", "-")
    if key not in HARDWARE:
        import difflib

        nearest = difflib.get_close_matches(key, HARDWARE, n=1, cutoff=0.0)[0]
        msg = f"unknown hardware {name!r}: did you mean {nearest!r}? There are {', '.join(HARDWARE)}"
        raise ValueError(msg)
    return HARDWARE[key]
