import os
import subprocess
import sys


def main(event):
    print("before")
    os.write(1, b"written\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    print("after")
    os.write(2, b"last\n")
    return 1
