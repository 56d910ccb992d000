"""The Ray Train job: ACT loss beside its baselines."""
