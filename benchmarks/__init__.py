"""Benchmarks: CPU time per call, always as a ratio to a named baseline measured in the same interleaved run."""
