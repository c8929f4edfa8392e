"""Tables of what makes functions run: one noun per file."""
