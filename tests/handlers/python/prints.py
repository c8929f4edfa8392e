import sys


def main(event):
    print("one")
    print("two", file=sys.stderr)
    sys.stdout.write("thr")
    sys.stdout.write("ee\nfour")
    sys.stdout.buffer.write(b" bytes\n")
    print("unfinished", end="")
    return None
