"""Many runs that belong together: planned, run, resumed, and summed up."""
