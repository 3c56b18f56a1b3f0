"""Optimizers, learning-rate schedules, groups and gradient clipping, from scratch on torch tensors."""

import lazy_loader

# Each name of __init__.pyi is imported when it is first asked for: a command line that checks a
# configuration doesn't wait two seconds for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
