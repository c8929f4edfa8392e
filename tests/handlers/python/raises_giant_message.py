def main(event):
    raise ValueError("m" * 10_000_000)
