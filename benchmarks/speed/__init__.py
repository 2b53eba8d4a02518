"""Speed beside peers: `python -m benchmarks.speed`, see docs/speed.md."""
