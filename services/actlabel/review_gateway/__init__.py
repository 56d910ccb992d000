"""Where reviewers settle the answers most in doubt."""
