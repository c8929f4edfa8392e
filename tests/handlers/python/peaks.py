def main(mb):
    """Holds as many megabytes for a moment."""
    return len(b"x" * (mb * 1024 * 1024))
