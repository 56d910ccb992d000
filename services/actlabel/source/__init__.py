"""Records of topics that people already have, followed into campaigns."""
