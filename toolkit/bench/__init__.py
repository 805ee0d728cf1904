"""Benchmarks: a grid of trials measured through gRPC, write-once records, and reports that read nothing else."""
