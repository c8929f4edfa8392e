import sys


def main(event):
    while True:
        sys.stdout.write("z" * 1000)
