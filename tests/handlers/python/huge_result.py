def main(event):
    if event == "small":
        return "small"
    return "x" * 100_000_000 if event == "text" else [[0] * 1000] * 100_000
