import os


def main(event):
    for _ in range(300):
        os.write(1, b"y\n" * 5000)
    return "done"
