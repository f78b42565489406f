"""Tests of the benchmarks' data and simulated votes."""
