"""The stage that spends the human budget and keeps the inclusion probabilities."""
