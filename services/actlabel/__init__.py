"""actlabel: training data that can be trusted, at stream speed."""
