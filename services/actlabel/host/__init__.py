"""Opens what a process stands on, in order, and closes it in reverse."""
