"""Speed compared with other packages: `python -m benchmarks.speed`, described in docs/speed.md."""
