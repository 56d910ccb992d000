"""What a campaign's labels are worth: estimates with intervals, plots, one page."""
