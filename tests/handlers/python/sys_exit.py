import sys


def main(event):
    sys.exit(4)
