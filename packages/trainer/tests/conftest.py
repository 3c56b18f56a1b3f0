"""No clocks in tests: on a busy machine the first call of torch takes a second."""

from hypothesis import settings

settings.register_profile("no clocks", deadline=None)
settings.load_profile("no clocks")
