"""Benchmarks: both sides in one run, interleaved; the last line printed is one JSON object with the medians of the
ratios.
"""
