"""Benchmarks: assessors by rating sets, from one TOML file to a report, going on where it stopped."""
