"""What others measure with: one module for each system, each behind an extra of its own."""
