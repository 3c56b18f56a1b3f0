"""Models on disk: hornbook's own form, that of Hugging Face, and GGUF. No pickle is read, no code is run."""

from .architectures import architecture_of
from .directory import load_model, save_model
from .gguf import save_gguf
from .gguf_vocabulary import GGUFVocabulary
from .huggingface import load_huggingface, save_huggingface

__all__ = [
    "GGUFVocabulary",
    "architecture_of",
    "load_huggingface",
    "load_model",
    "save_gguf",
    "save_huggingface",
    "save_model",
]
