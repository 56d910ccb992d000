"""Estimates and plots of a campaign in one page."""
