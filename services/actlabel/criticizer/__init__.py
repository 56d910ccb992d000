"""The stage that estimates the probability that a label is wrong."""
