"""The main job on the digits that ship inside scikit-learn."""
