"""The pure domain: standard library and NumPy only, no input or output."""
