"""Registered models behind the contract that annotator and criticizer speak."""
