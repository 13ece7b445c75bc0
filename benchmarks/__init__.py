"""Speed and peak memory beside a peer: ``python -m benchmarks``. See the README beside this file."""
