"""What netdaemon can do beside its peers, measured in one run; `python -m benchmarks` runs everything."""
